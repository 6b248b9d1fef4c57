/* SPDX-License-Identifier: Apache-2.0 */
/* train/evaluate.c - see evaluate.h. */
#include "train/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/version.h"
#include "train/estimate.h"
#include "train/strata.h"
#include "train/sweep.h"

const dx_option dx_evaluate_options[] = {
  DX_OPTION(dx_evaluate_config, every, "end", -1, 1e12, "steps between evaluations of the bound; end (0): after the last step alone, never (-1)",
            .words = "end=0|never=-1", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, examples, "all", 0, 1e12, "examples of the test split", .words = "all=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, timesteps, "all", 2, 1e6,
            "timesteps per example: all (of evaluate.respace), or that many strata with one random t each", .words = "all=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, budget, "none", 1, 1e15,
            "forward passes of one example that an evaluation may take in all: gives the timesteps per example, once the pilot and "
            "the estimates of variances are paid", .words = "none=0", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, strata, "squares", 0, 0,
            "how fewer strata than timesteps share t: cut at squares and t drawn alike in each, or cut and drawn by the size "
            "of the terms in a pilot on the training split (neyman)", .choices = "squares|neyman", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, respace, "none", 0, 0,
            "the bound of a process of fewer steps: how many of 1..T, or numbers of them in equal sections, such as 10,15,20; the network "
            "is given their t; the evaluations of one run are of one grid", .role = DX_FREE, .alias = "timestep_respacing"),
  DX_OPTION(dx_evaluate_config, spacing, "sections", 0, 0,
            "where they lie: each section's ends and evenly between (sections), or of one number evenly from 1 to T (linspace), "
            "T/n apart from 1 on (leading) or down from T (trailing)", .choices = "sections|linspace|leading|trailing", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, pilot, "16", 2, 1e9, "examples of the training split, each at every t, in the pilot of neyman",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, draws, "1", 1, 256,
            "draws of noise per example and t, whose mean is its term; with several the record tells what of the errors they are",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, train_examples, "none", 0, 1e12,
            "examples of the training split whose bound is evaluated too, and its gap to the test split's", .words = "none=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, clip, "true", 0, 0, "clip x0hat to the range that the data declare, if they do", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, weights, "ema", 0, 0,
            "which weights: ema (averaged, by the first rate of train.ema), ema-RATE (by that one), or raw", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, per_example, "totals", 0, 0,
            "what the file of diffx evaluate tells of each example: its total, or, with timesteps: all, all its terms too",
            .choices = "totals|terms", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, grain, "64", 1, 4096, "examples that one thread, or one crew (run.crew), predicts at a time",
            .role = DX_FREE),
  DX_OPTION_END
};

/* Running mean and sum of squared deviations (Welford). */
typedef struct { double mean, m2; int64_t n; } moments;

static void moments_add(moments *m, double x)
{
  const double d = x - m->mean;

  m->n++;
  m->mean += d / (double)m->n;
  m->m2 += d * (x - m->mean);
}

static double moments_mean(const moments *m) { return m->n ? m->mean : NAN; }

static double moments_stderr(const moments *m)
{
  return m->n > 1 ? sqrt(m->m2 / (double)(m->n - 1) / (double)m->n) : NAN;
}

void dx_evaluation_free(dx_evaluation *e)
{
  free(e->memory);
  free(e->example_row);
  free(e->example_total);
  free(e->example_vb);
  free(e->example_label);
  free(e->class_vb);
  *e = (dx_evaluation){0};
}

int64_t dx_evaluation_examples(const dx_problem *p)
{
  const int64_t wanted = p->spec->evaluate.examples, there = p->info->count[DX_TEST];

  return wanted > 0 && wanted < there ? wanted : there;
}

bool dx_evaluate_config_wrong(const dx_evaluate_config *c, const char **key, char words[96])
{
  *key = "evaluate.budget";
  snprintf(words, 96, "is %lld, but evaluate.timesteps is %lld; allowed with it: all", (long long)c->budget, (long long)c->timesteps);
  return c->budget > 0 && c->timesteps > 0;
}

dx_error *dx_evaluation_possible(const dx_problem *p)
{
  if (p->info->count[DX_TEST] == 0)
    return DX_FAIL(DATA, "%s has no test split, which evaluations need; give it one or set evaluate.every: never",
                   p->info->name);
  return dx_strata_check(p);
}

int64_t dx_evaluation_train_examples(const dx_problem *p)
{
  return dx_problem_train_examples(p, p->spec->evaluate.train_examples);
}

int64_t dx_evaluation_forwards(const dx_problem *p)
{
  return dx_strata_count(p) * dx_strata_forwards_of_one(p) + dx_estimate_forwards(p) + dx_strata_pilot_forwards(p);
}

/* Are the terms of each class added up, too? */
typedef enum { OF_ALL, BY_CLASS } tally_kind;

/* Rank 0's sums over a whole evaluation. */
typedef struct {
  const dx_problem *problem;
  const dx_strata *strata;
  int64_t grain, examples;
  moments *prior, *total;
  moments *vb;                 /* (steps) */
  moments *of_class;           /* (classes) */
  double *mse, *x0, *variance; /* (steps) sums */
  double *spread;              /* (steps) squared deviations of draws from their example's mean */
  double *total_spread;        /* of totals */
  double *running;             /* (grain) totals of the block's examples */
  double *class_vb, *class_n;  /* (classes, steps) sums and counts; NULL unless the result wants them */
  void *memory;                /* owns them */
  size_t size;
  double *example_total, *example_vb; /* the result's, or NULL */
  int32_t *example_label;
} tally;

static void fold_terms(void *ctx, int64_t e, int64_t k, const dx_answer *a)
{
  tally *const y = ctx;
  const dx_process *const p = &y->problem->grid.process;
  const int64_t D = y->problem->dim, row = a->t - 1;
  const double x0_mse = a->x0_sq / (double)D;
  double *const total = &y->running[e % y->grain];

  if (k == 0) {
    *total = dx_process_prior(p, D, a->norm_sq);
    moments_add(y->prior, *total);
  }
  *total += a->weight * a->vb;
  moments_add(&y->vb[row], a->vb);
  if (y->example_vb) y->example_vb[e * y->problem->grid.steps + row] = a->vb;
  if (y->class_vb && a->label >= 0) {
    y->class_vb[a->label * y->problem->grid.steps + row] += a->vb;
    y->class_n[a->label * y->problem->grid.steps + row]++;
  }
  y->variance[row] += a->variance;
  y->spread[row] += a->spread;
  *y->total_spread += a->weight * a->weight * a->spread;
  y->x0[row] += x0_mse;
  y->mse[row] += x0_mse * p->abar[row] / p->nbar[row]; /* of epshat from the clipped x0hat */
  if (k < y->strata->count - 1) return;
  moments_add(y->total, *total);
  if (y->example_total) y->example_total[e] = *total;
  if (y->example_label) y->example_label[e] = a->label;
  if (a->label >= 0) moments_add(&y->of_class[a->label], *total);
}

static dx_error *create_result(int64_t T, int64_t classes, dx_evaluation *out)
{
  *out = (dx_evaluation){.timesteps = T, .classes = classes,
                         .memory = calloc((size_t)dx_evaluation_numbers(T, classes), sizeof(double))};
  if (!out->memory) return DX_FAIL(INTERNAL, "no memory for the terms of the bound");
  out->vb = out->memory;
  out->vb_stderr = out->vb + T;
  out->mse = out->vb_stderr + T;
  out->x0_mse = out->mse + T;
  out->count = out->x0_mse + T;
  out->variance = out->count + T;
  out->vb_draw_stderr = out->variance + T;
  out->class_count = out->vb_draw_stderr + T;
  out->class_total = out->class_count + classes;
  out->class_stderr = out->class_total + classes;
  return NULL;
}

static bool wants_terms(const dx_problem *p) { return !strcmp(p->spec->evaluate.per_example, "terms"); }

/* Room for what each example has.  Rank 0 */
static dx_error *create_by_example(const dx_problem *p, int64_t N, dx_evaluation *out)
{
  dx_permutation order;

  out->example_row = calloc((size_t)N, sizeof *out->example_row);
  out->example_total = calloc((size_t)N, sizeof *out->example_total);
  if (wants_terms(p)) out->example_vb = calloc((size_t)N, (size_t)out->timesteps * sizeof *out->example_vb);
  if (out->classes > 0) {
    out->example_label = calloc((size_t)N, sizeof *out->example_label);
    out->class_vb = calloc((size_t)out->classes, (size_t)out->timesteps * sizeof *out->class_vb);
  }
  if (!out->example_row || !out->example_total || (wants_terms(p) && !out->example_vb) ||
      (out->classes > 0 && (!out->example_label || !out->class_vb)))
    return DX_FAIL(INTERNAL, "no memory for the %s of %lld examples", p->spec->evaluate.per_example, (long long)N);
  dx_sweep_order(p, DX_TEST, &order);
  for (int64_t e = 0; e < N; e++) out->example_row[e] = (int64_t)dx_permutation_at(&order, (uint64_t)e);
  return NULL;
}

/* Examples have a term at every t only where every t is a stratum. */
static dx_error *check_by_example(const dx_problem *p)
{
  if (!wants_terms(p) || dx_strata_count(p) == p->grid.steps) return NULL;
  return DX_FAIL(CONFIG, "evaluate.per_example is terms, but each example is evaluated at %lld of %lld timesteps; allowed: "
                 "totals, or terms with evaluate.timesteps all", (long long)dx_strata_count(p), (long long)p->grid.steps);
}

/* Of a mean over n examples of means over R draws: each is off by the variance of its own draws over R, which their R - 1
   degrees of freedom estimate. */
static double draw_stderr(double spread, double R, double n)
{
  return R > 1 && n > 0 ? sqrt(spread / (R * (R - 1))) / n : NAN;
}

static void finish(const tally *y, dx_evaluation *out)
{
  const double R = (double)y->problem->spec->evaluate.draws;

  for (int64_t i = 0; i < out->timesteps; i++) {
    const double n = (double)y->vb[i].n;

    out->vb[i] = moments_mean(&y->vb[i]);
    out->vb_stderr[i] = moments_stderr(&y->vb[i]);
    out->mse[i] = n > 0 ? y->mse[i] / n : NAN;
    out->x0_mse[i] = n > 0 ? y->x0[i] / n : NAN;
    out->count[i] = n;
    out->variance[i] = n > 0 ? y->variance[i] / n : NAN;
    out->vb_draw_stderr[i] = draw_stderr(y->spread[i], R, n);
  }
  for (int64_t i = 0; i < out->classes; i++) {
    out->class_count[i] = (double)y->of_class[i].n;
    out->class_total[i] = moments_mean(&y->of_class[i]);
    out->class_stderr[i] = moments_stderr(&y->of_class[i]);
  }
  for (int64_t i = 0; out->class_vb && i < out->classes * out->timesteps; i++)
    out->class_vb[i] = y->class_n[i] > 0 ? y->class_vb[i] / y->class_n[i] : NAN;
  out->head.prior = moments_mean(y->prior);
  out->head.prior_stderr = moments_stderr(y->prior);
  out->head.decoder = out->vb[0];
  out->head.decoder_stderr = out->vb_stderr[0];
  out->head.total = moments_mean(y->total);
  out->head.total_stderr = moments_stderr(y->total);
  out->head.total_draw_stderr = draw_stderr(*y->total_spread, R, (double)y->total->n);
}

static dx_error *create_tally(tally *y, dx_problem *p, const dx_strata *strata, int64_t examples, tally_kind kind)
{
  const int64_t T = p->grid.steps, C = p->info->classes, grain = p->spec->evaluate.grain, terms = kind == BY_CLASS ? C * T : 0;

  *y = (tally){.problem = p, .strata = strata, .grain = grain, .examples = examples,
               .size = (size_t)(T + C + 2) * sizeof(moments) + (size_t)(4 * T + grain + 1 + 2 * terms) * sizeof(double)};
  y->memory = calloc(1, y->size);
  if (!y->memory) return DX_FAIL(INTERNAL, "no memory for an evaluation");
  y->prior = y->memory;
  y->total = y->prior + 1;
  y->vb = y->total + 1;
  y->of_class = y->vb + T;
  y->mse = (double *)(void *)(y->of_class + C);
  y->x0 = y->mse + T;
  y->variance = y->x0 + T;
  y->spread = y->variance + T;
  y->total_spread = y->spread + T;
  y->running = y->total_spread + 1;
  if (terms == 0) return NULL;
  y->class_vb = y->running + grain;
  y->class_n = y->class_vb + terms;
  return NULL;
}

/* All that fold_terms changes. */
static dx_sums sums_of(const tally *y)
{
  const size_t N = (size_t)y->examples * sizeof(double);

  return (dx_sums){{{y->memory, y->size}, {y->example_total, y->example_total ? N : 0},
                    {y->example_vb, y->example_vb ? N * (size_t)y->problem->grid.steps : 0},
                    {y->example_label, y->example_label ? (size_t)y->examples * sizeof *y->example_label : 0}}};
}

/* The bound of the tally's examples of a split, with that variance of the decoder.  Collective */
static dx_error *find_bound(dx_problem *p, const dx_predictor *predictor, double variance, dx_split split,
                            const dx_patience *wait, tally *y)
{
  dx_error *err;
  dx_sweep s;

  DX_TRY(dx_sweep_create(&s, p, predictor, split, DX_FOR_EVAL_NOISE, y->examples, y->strata->count));
  s.decoder = dx_problem_decoder(p, variance);
  memcpy(s.first, y->strata->first, ((size_t)y->strata->count + 1) * sizeof *s.first);
  s.size = y->strata->size;
  s.draws = p->spec->evaluate.draws;
  err = dx_sweep_run(&s, wait, &(dx_fold){fold_terms, y, sums_of(y)});
  dx_sweep_destroy(&s);
  return err;
}

/* The training split's bound, if it is wanted, beside that of the test split. */
static dx_error *find_gap(dx_problem *p, const dx_predictor *predictor, double variance, const dx_patience *wait,
                          const dx_strata *strata, dx_evaluation_head *h)
{
  dx_error *err;
  tally y;

  h->train = h->train_stderr = h->gap = h->gap_stderr = NAN;
  if (dx_evaluation_train_examples(p) == 0) return NULL;
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, create_tally(&y, p, strata, dx_evaluation_train_examples(p), OF_ALL)));
  DX_TRY_GOTO(err, out, find_bound(p, predictor, variance, DX_TRAIN, wait, &y));
  h->train = moments_mean(y.total);
  h->train_stderr = moments_stderr(y.total);
  h->gap = h->total - h->train;
  h->gap_stderr = sqrt(h->total_stderr * h->total_stderr + h->train_stderr * h->train_stderr);
out:
  free(y.memory);
  return err;
}

/* Room for the result and the sums.  Local */
static dx_error *create(dx_problem *p, const dx_evaluation_task *task, const dx_strata *strata, tally *y, dx_evaluation *out)
{
  const bool by_example = task->by_example && dx_comm_rank(p->team->comm) == 0;

  DX_TRY(create_tally(y, p, strata, dx_evaluation_examples(p), by_example ? BY_CLASS : OF_ALL));
  DX_TRY(create_result(p->grid.steps, p->info->classes, out));
  if (!by_example) return NULL;
  DX_TRY(create_by_example(p, dx_evaluation_examples(p), out));
  y->example_total = out->example_total;
  y->example_vb = out->example_vb;
  y->example_label = out->example_label;
  return NULL;
}

/* What tells this evaluation from all others: settings, data, weights, and the program that folds. */
static uint64_t key_of(const dx_problem *p, const dx_evaluation_task *task, uint64_t weights_hash)
{
  const int64_t numbers[] = {task->step, task->ema, task->by_example, (int64_t)p->info->hash, (int64_t)weights_hash,
                             (int64_t)sizeof(dx_answer), dx_evaluation_numbers(p->grid.steps, p->info->classes)};
  const char *const words[] = {p->spec->settings, p->team->kernels, dx_version(), dx_commit()};
  uint64_t key = dx_hash(numbers, sizeof numbers, 0);

  for (size_t i = 0; i < sizeof words / sizeof *words; i++) key = dx_hash(words[i], strlen(words[i]), key);
  return key;
}

/* Rank 0's.  Local */
static dx_error *open_partial(const dx_problem *p, const dx_evaluation_task *task, uint64_t weights_hash, dx_patience *wait)
{
  *wait = task->wait;
  if (!task->partial || dx_comm_rank(p->team->comm) > 0) return NULL;
  return dx_partial_open(task->partial, key_of(p, task, weights_hash), p->team->log, &wait->partial);
}

dx_error *dx_evaluate(dx_problem *p, const dx_evaluation_task *task, dx_evaluation *out)
{
  const int64_t N = dx_evaluation_examples(p);
  const dx_comm *const c = p->team->comm;
  dx_patience wait = {0};
  dx_predictor predictor;
  dx_strata strata = {0};
  dx_error *err;
  double variance;
  tally y;

  *out = (dx_evaluation){0};
  DX_TRY(dx_evaluation_possible(p));
  if (task->by_example) DX_TRY(check_by_example(p));
  err = create(p, task, &strata, &y, out);
  if (dx_comm_rank(c) == 0 && (task->by_example || task->partial)) out->weights_hash = dx_problem_weights_hash(p, task->w);
  if (!err) err = open_partial(p, task, out->weights_hash, &wait);
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  DX_TRY_GOTO(err, out, dx_estimate_variance(p, task->w, DX_USER_EVALUATION, &wait));
  DX_TRY_GOTO(err, out, dx_problem_predictor(p, task->w, p->spec->evaluate.grain, DX_MANY_ITEMS, &predictor));
  DX_TRY_GOTO(err, out, dx_estimate_decoder(p, &predictor, &wait, &variance));
  DX_TRY_GOTO(err, out, dx_strata_find(p, &predictor, variance, &wait, &strata));
  DX_TRY_GOTO(err, out, find_bound(p, &predictor, variance, DX_TEST, &wait, &y));
  out->head = (dx_evaluation_head){.step = task->step, .examples = N, .ema = task->ema, .decoder_variance = variance,
                                   .strata_gain = strata.gain, .strata_gain_low = strata.gain_low, .strata_gain_high = strata.gain_high};
  finish(&y, out);
  DX_TRY_GOTO(err, out, find_gap(p, &predictor, variance, &wait, &strata, &out->head));
  dx_comm_broadcast(c, &out->head, sizeof out->head);
  if (!isfinite(out->head.total))
    err = DX_FAIL(NUMERIC, "step %lld: the bound of the test split is %g", (long long)task->step, out->head.total);
out:
  free(y.memory);
  dx_partial_close(wait.partial);
  dx_strata_free(&strata);
  if (err) dx_evaluation_free(out);
  return err;
}
