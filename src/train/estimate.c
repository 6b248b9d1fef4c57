/* SPDX-License-Identifier: Apache-2.0 */
/* train/estimate.c - see estimate.h. */
#include "train/estimate.h"

#include <stdlib.h>

#include "base/math.h"
#include "train/evaluate.h"

/* Examples of the training split for the optimal decoder variance. */
static int64_t decoder_examples(const dx_problem *p)
{
  return dx_problem_train_examples(p, dx_evaluation_examples(p));
}

static bool decoder_is_optimal(const dx_problem *p)
{
  return dx_problem_decoder_kind(p) == DX_DECODER_OPTIMAL;
}

/* Examples of the training split for an estimated reverse variance, at each t. */
static int64_t variance_examples(const dx_problem *p)
{
  return dx_problem_train_examples(p, p->spec->objective.variance_examples);
}

int64_t dx_estimate_forwards(const dx_problem *p)
{
  return (decoder_is_optimal(p) ? decoder_examples(p) : 0) +
         (p->objective.reverse->estimate ? variance_examples(p) : 0) * p->grid.steps;
}

static void fold_decoder(void *ctx, int64_t e, int64_t k, const dx_answer *a)
{
  (void)e;
  (void)k;
  *(double *)ctx += a->x0_sq;
}

dx_error *dx_estimate_decoder(dx_problem *p, const dx_predictor *predictor, const dx_patience *wait, double *out)
{
  const int64_t n = decoder_examples(p);
  double sum = 0;
  dx_sweep s;

  if (decoder_is_optimal(p)) {
    DX_TRY(dx_sweep_create(&s, p, predictor, DX_TRAIN, DX_FOR_DECODER, n, 1));
    s.estimating = true;
    const dx_fold fold = {fold_decoder, &sum, {{{&sum, sizeof sum}}}};
    dx_error *err = dx_sweep_run(&s, wait, &fold);
    dx_sweep_destroy(&s);
    if (err) return err;
    dx_comm_broadcast(p->team->comm, &sum, sizeof sum);
  }
  *out = dx_decoder_variance(&p->grid.process, dx_problem_decoder_kind(p),
                             sum / ((double)n * (double)p->dim));
  return NULL;
}

/* Sums over the training split, by t. */
typedef struct { double *x0_sq, *eps_sq; } errors;

static void fold_errors(void *ctx, int64_t e, int64_t k, const dx_answer *a)
{
  errors *const y = ctx;

  (void)e;
  (void)k;
  y->x0_sq[a->t - 1] += a->x0_sq;
  y->eps_sq[a->t - 1] += a->eps_sq;
}

dx_error *dx_estimate_variance(dx_problem *p, const float *w, dx_variance_user user, const dx_patience *wait)
{
  dx_process *const process = user == DX_USER_SAMPLER ? &p->process : &p->grid.process;
  const int64_t T = process->timesteps, n = variance_examples(p);
  const double numbers = (double)n * (double)p->dim;
  errors sum = {0};
  dx_predictor predictor;
  dx_error *err;
  dx_sweep s;

  if (!p->objective.reverse->estimate) return NULL;
  sum.x0_sq = calloc(2 * (size_t)T, sizeof *sum.x0_sq);
  err = sum.x0_sq ? NULL : DX_FAIL(INTERNAL, "no memory for variances");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  DX_TRY_GOTO(err, out, dx_problem_predictor(p, w, p->spec->evaluate.grain, DX_MANY_ITEMS, &predictor));
  sum.eps_sq = sum.x0_sq + T;
  DX_TRY_GOTO(err, out, dx_sweep_create(&s, p, &predictor, DX_TRAIN, DX_FOR_VARIANCE, n, T));
  s.estimating = true;
  if (user == DX_USER_SAMPLER) dx_sweep_every_step(&s);
  err = dx_sweep_run(&s, wait, &(dx_fold){fold_errors, &sum, {{{sum.x0_sq, 2 * (size_t)T * sizeof *sum.x0_sq}}}});
  dx_sweep_destroy(&s);
  if (err) goto out;
  dx_comm_broadcast(p->team->comm, sum.x0_sq, 2 * (size_t)T * sizeof *sum.x0_sq);
  for (int64_t i = 1; i < T; i++) {
    process->var[i] = p->objective.reverse->estimate(process, i, sum.x0_sq[i] / numbers, sum.eps_sq[i] / numbers);
    process->log_var[i] = dx_log(process->var[i]);
  }
out:
  free(sum.x0_sq);
  return err;
}
