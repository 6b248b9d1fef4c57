/* SPDX-License-Identifier: Apache-2.0 */
/* train/strata.c - see strata.h. */
#include "train/strata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t dx_strata_count(const dx_problem *p)
{
  const int64_t K = p->spec->evaluate.timesteps, T = p->process.timesteps;

  return K > 0 && K < T ? K : T;
}

static bool wants_pilot(const dx_problem *p)
{
  return !strcmp(p->spec->evaluate.strata, "neyman") && dx_strata_count(p) > 1 && dx_strata_count(p) < p->process.timesteps;
}

/* Examples of the training split in the pilot, each at every t. */
static int64_t pilot_examples(const dx_problem *p)
{
  const int64_t there = p->info->count[DX_TRAIN], wanted = p->spec->evaluate.pilot;

  if (!wants_pilot(p)) return 0;
  return wanted < there ? wanted : there;
}

int64_t dx_strata_forwards(const dx_problem *p) { return pilot_examples(p) * p->process.timesteps; }

/* Stratum 0 is t = 1; the others cut t = 2..T at squares, at least one t in each. */
static void cut_at_squares(int64_t K, int64_t T, int64_t *first)
{
  first[0] = 1;
  for (int64_t k = 1; k < K; k++) {
    const double u = K > 1 ? (double)(k - 1) / (double)(K - 1) : 0;
    int64_t t = 2 + (int64_t)(u * u * (double)(T - 1));
    const int64_t most = T - (K - 1 - k); /* leaves one t for each that follows */

    if (t < first[k - 1] + 1) t = first[k - 1] + 1;
    first[k] = t < most ? t : most;
  }
  first[K] = T + 1;
}

/* Sums of the pilot, by t. */
typedef struct { double *vb, *square; } pilot_sums;

static void fold_pilot(void *ctx, int64_t e, int64_t k, const dx_answer *a)
{
  pilot_sums *const y = ctx;

  (void)e;
  (void)k;
  y->vb[a->t - 1] += a->vb;
  y->square[a->t - 1] += a->vb * a->vb;
}

/* Stratum 0 is t = 1; the others get equal shares of the sizes of t = 2..T, at least one t each. */
static void cut_by_size(int64_t K, int64_t T, const double *size, int64_t *first)
{
  double sum = 0, below = 0;
  int64_t t = 2;

  for (int64_t i = 2; i <= T; i++) sum += size[i - 1];
  first[0] = 1;
  for (int64_t k = 1; k < K; k++) {
    first[k] = t;
    /* at least one, and one is left for each stratum that follows */
    do below += size[t++ - 1];
    while (t <= T - (K - 1 - k) && below < sum * (double)k / (double)(K - 1));
  }
  first[K] = T + 1;
}

/* Variance of an example's total by the pilot, with t drawn in proportion to size (NULL: alike), but for what all ways of
   drawing have in common. */
static double variance_by_pilot(int64_t K, const int64_t *first, const double *size, const double *square, const double *mean)
{
  double sum = 0;

  for (int64_t k = 1; k < K; k++) {
    double all = 0, squares = 0, means = 0;

    for (int64_t t = first[k]; t < first[k + 1]; t++) all += size ? size[t - 1] : 1;
    for (int64_t t = first[k]; t < first[k + 1]; t++) {
      squares += square[t - 1] * (all / (size ? size[t - 1] : 1));
      means += mean[t - 1];
    }
    sum += squares - means * means;
  }
  return sum;
}

/* A tenth of the draws is spread alike, so that no weight is large where the pilot saw little. */
static void set_sizes(int64_t T, const double *square, double *size)
{
  double sum = 0;

  for (int64_t i = 1; i < T; i++) sum += sqrt(square[i]);
  size[0] = 1;
  for (int64_t i = 1; i < T; i++) size[i] = (sum > 0 ? 0.9 * sqrt(square[i]) / sum : 0) + 0.1 / (double)(T - 1);
}

void dx_strata_free(dx_strata *s)
{
  free(s->first);
  free(s->size);
  *s = (dx_strata){0};
}

/* Every t of a few examples of the training split: those of the test split stay unseen, so that the bound is unbiased.
   Collective */
static dx_error *find_by_pilot(dx_problem *p, const dx_predictor *predictor, double variance, const dx_patience *wait, dx_strata *q)
{
  const int64_t T = p->process.timesteps, K = q->count, n = pilot_examples(p);
  pilot_sums sums = {0};
  int64_t *squares = NULL;
  dx_error *err;
  dx_sweep s;

  squares = calloc((size_t)K + 1, sizeof *squares);
  q->size = calloc((size_t)T, sizeof *q->size);
  sums.vb = calloc(2 * (size_t)T, sizeof *sums.vb);
  err = squares && q->size && sums.vb ? NULL : DX_FAIL(INTERNAL, "no memory for a pilot evaluation");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  sums.square = sums.vb + T;
  DX_TRY_GOTO(err, out, dx_sweep_create(&s, p, predictor, DX_TRAIN, DX_FOR_PILOT, n, T));
  s.decoder = dx_problem_decoder(p, variance);
  err = dx_sweep_run(&s, wait, fold_pilot, &sums);
  dx_sweep_destroy(&s);
  if (err) goto out;
  dx_comm_broadcast(p->team->comm, sums.vb, 2 * (size_t)T * sizeof *sums.vb);
  for (int64_t i = 0; i < 2 * T; i++) sums.vb[i] /= (double)n;
  set_sizes(T, sums.square, q->size);
  cut_by_size(K, T, q->size, q->first);
  cut_at_squares(K, T, squares);
  q->gain = variance_by_pilot(K, squares, NULL, sums.square, sums.vb) /
            variance_by_pilot(K, q->first, q->size, sums.square, sums.vb);
out:
  free(squares);
  free(sums.vb);
  return err;
}

dx_error *dx_strata_find(dx_problem *p, const dx_predictor *predictor, double decoder_variance, const dx_patience *wait,
                         dx_strata *out)
{
  *out = (dx_strata){.count = dx_strata_count(p), .gain = NAN};
  out->first = calloc((size_t)out->count + 1, sizeof *out->first);
  DX_TRY(dx_comm_agree(p->team->comm, out->first ? NULL : DX_FAIL(INTERNAL, "no memory for the strata of an evaluation")));
  cut_at_squares(out->count, p->process.timesteps, out->first);
  return wants_pilot(p) ? find_by_pilot(p, predictor, decoder_variance, wait, out) : NULL;
}
