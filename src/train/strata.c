/* SPDX-License-Identifier: Apache-2.0 */
/* train/strata.c - see strata.h. */
#include "train/strata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "train/estimate.h"
#include "train/evaluate.h"

/* Examples of the training split in a pilot, each at every t. */
static int64_t pilot_examples(const dx_problem *p)
{
  return strcmp(p->spec->evaluate.strata, "neyman") ? 0 : dx_problem_train_examples(p, p->spec->evaluate.pilot);
}

int64_t dx_strata_forwards_of_one(const dx_problem *p)
{
  return (dx_evaluation_examples(p) + dx_evaluation_train_examples(p)) * p->spec->evaluate.draws;
}

/* A budget that does not reach to every t must reach to the pilot and fewer t. */
static int64_t count_by_budget(const dx_problem *p)
{
  const int64_t T = p->grid.steps, left = p->spec->evaluate.budget - dx_estimate_forwards(p), one = dx_strata_forwards_of_one(p);

  if (left / one >= T) return T;
  return (left - pilot_examples(p) * T) / one;
}

int64_t dx_strata_count(const dx_problem *p)
{
  const int64_t K = p->spec->evaluate.timesteps, T = p->grid.steps;

  if (p->spec->evaluate.budget > 0) return count_by_budget(p);
  return K > 0 && K < T ? K : T;
}

dx_error *dx_strata_check(const dx_problem *p)
{
  const int64_t T = p->grid.steps, one = dx_strata_forwards_of_one(p), fixed = dx_estimate_forwards(p);
  const int64_t pilot = pilot_examples(p) * T, few = fixed + pilot + 2 * one, all = fixed + T * one;

  if (p->spec->evaluate.budget == 0 || dx_strata_count(p) >= 2) return NULL;
  return DX_FAIL(CONFIG, "evaluate.budget is %lld; allowed: at least %lld forward passes (%lld for the pilot and for estimates of "
                 "variances, %lld for each of 2 timesteps), or none", (long long)p->spec->evaluate.budget,
                 (long long)(few < all ? few : all), (long long)(few < all ? fixed + pilot : fixed), (long long)one);
}

static bool wants_pilot(const dx_problem *p)
{
  return pilot_examples(p) > 0 && dx_strata_count(p) > 1 && dx_strata_count(p) < p->grid.steps;
}

int64_t dx_strata_pilot_forwards(const dx_problem *p) { return wants_pilot(p) ? pilot_examples(p) * p->grid.steps : 0; }

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

/* The pilot's terms: vb (n, T). */
typedef struct { int64_t timesteps; double *vb; } pilot_terms;

static void fold_pilot(void *ctx, int64_t e, int64_t k, const dx_answer *a)
{
  const pilot_terms *const y = ctx;

  (void)k;
  y->vb[e * y->timesteps + a->t - 1] = a->vb;
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

/* The variances of the terms that one example draws, summed over strata but the first:
   sum_t square_t / chance_t - (sum_t a_t) (sum_t b_t); t is drawn in proportion to size (NULL: alike). */
static double variance_of(int64_t K, const int64_t *first, const double *size, const double *square, const double *a, const double *b)
{
  double sum = 0;

  for (int64_t k = 1; k < K; k++) {
    double all = 0, squares = 0, as = 0, bs = 0;

    for (int64_t t = first[k]; t < first[k + 1]; t++) all += size ? size[t - 1] : 1;
    for (int64_t t = first[k]; t < first[k + 1]; t++) {
      squares += square[t - 1] * (all / (size ? size[t - 1] : 1));
      as += a[t - 1];
      bs += b[t - 1];
    }
    sum += squares - as * bs;
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

/* The sums of a pilot and what follows from them. */
typedef struct {
  int64_t n, T, K;
  const double *vb;              /* (n, T) */
  double *sum, *sum2;            /* (T) over examples of the terms and their squares */
  double *mean, *square, *size;  /* (T) without one of the examples */
  double *own;                   /* (T) squares of that one */
  int64_t *squares, *first;      /* (K + 1): cut at squares, by size */
} pilot_plan;

static void add_up(pilot_plan *q)
{
  for (int64_t e = 0; e < q->n; e++)
    for (int64_t i = 0; i < q->T; i++) {
      const double x = q->vb[e * q->T + i];

      q->sum[i] += x;
      q->sum2[i] += x * x;
    }
}

/* Strata of the pilot without example e; -1: with all. */
static void plan_without(pilot_plan *q, int64_t e)
{
  const double examples = (double)(e < 0 ? q->n : q->n - 1);

  for (int64_t i = 0; i < q->T; i++) {
    const double x = e < 0 ? 0 : q->vb[e * q->T + i], rest = q->sum2[i] - x * x;

    q->own[i] = x * x;
    q->mean[i] = (q->sum[i] - x) / examples;
    q->square[i] = (rest > 0 ? rest : 0) / examples; /* below 0 by rounding alone */
  }
  set_sizes(q->T, q->square, q->size);
  cut_by_size(q->K, q->T, q->size, q->first);
}

/* The 97.5 % quantile of Student's t, by its expansion around the normal one (Fisher and Cornish). */
static double student(double degrees)
{
  const double z = 1.959963984540054, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z, d = degrees;

  return z + (z3 + z) / (4 * d) + (5 * z5 + 16 * z3 + 3 * z) / (96 * d * d) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * d * d * d);
}

/* Each example is judged by the strata that the others choose: unlike the gain itself, which is judged by the very examples
   that chose, this is not too high. x and y are the variances at squares and by size that example e tells of; their ratio, and its
   error from that of log x - log y, linear in both. */
static dx_error *bound_gain(pilot_plan *q, dx_strata *s)
{
  const double n = (double)q->n;
  double *x, *y, xs = 0, ys = 0, m2 = 0;

  if (q->n < 3) return NULL;
  x = calloc(2 * (size_t)q->n, sizeof *x);
  y = x + q->n;
  if (!x) return DX_FAIL(INTERNAL, "no memory for a pilot evaluation");
  for (int64_t e = 0; e < q->n; e++) {
    const double *const own = q->vb + e * q->T;

    plan_without(q, e);
    xs += x[e] = variance_of(q->K, q->squares, NULL, q->own, own, q->mean);
    ys += y[e] = variance_of(q->K, q->first, q->size, q->own, own, q->mean);
  }
  for (int64_t e = 0; e < q->n; e++) {
    const double d = n * x[e] / xs - n * y[e] / ys;

    m2 += d * d;
  }
  free(x);
  if (!(xs > 0 && ys > 0)) return NULL;
  const double middle = dx_log(xs / ys), reach = student(n - 1) * sqrt(m2 / (n - 1) / n);
  s->gain_low = dx_exp(middle - reach);
  s->gain_high = dx_exp(middle + reach);
  return NULL;
}

dx_error *dx_strata_by_pilot(int64_t n, int64_t T, const double *vb, dx_strata *s)
{
  const int64_t K = s->count;
  double *const sums = calloc(6 * (size_t)T, sizeof *sums);
  int64_t *const cuts = calloc(2 * (size_t)K + 2, sizeof *cuts);
  dx_error *err = sums && cuts ? NULL : DX_FAIL(INTERNAL, "no memory for a pilot evaluation");

  if (!err) {
    pilot_plan q = {.n = n, .T = T, .K = K, .vb = vb, .sum = sums, .sum2 = sums + T, .mean = sums + 2 * T, .square = sums + 3 * T,
                    .size = sums + 4 * T, .own = sums + 5 * T, .squares = cuts, .first = cuts + K + 1};

    add_up(&q);
    plan_without(&q, -1);
    cut_at_squares(K, T, q.squares);
    memcpy(s->size, q.size, (size_t)T * sizeof *s->size);
    memcpy(s->first, q.first, ((size_t)K + 1) * sizeof *s->first);
    s->gain = variance_of(K, q.squares, NULL, q.square, q.mean, q.mean) / variance_of(K, q.first, q.size, q.square, q.mean, q.mean);
    err = bound_gain(&q, s);
  }
  free(sums);
  free(cuts);
  return err;
}

/* Every t of a few examples of the training split: those of the test split stay unseen, so that the bound is unbiased.
   Rank 0 has the terms; all get the strata.  Collective */
static dx_error *find_by_pilot(dx_problem *p, const dx_predictor *predictor, double variance, const dx_patience *wait, dx_strata *q)
{
  const int64_t T = p->grid.steps, n = pilot_examples(p);
  const dx_comm *const c = p->team->comm;
  const bool lead = dx_comm_rank(c) == 0;
  pilot_terms terms = {.timesteps = T, .vb = calloc(lead ? (size_t)n : 1, (size_t)T * sizeof *terms.vb)};
  dx_error *err;
  dx_sweep s;

  q->size = calloc((size_t)T, sizeof *q->size);
  err = q->size && terms.vb ? NULL : DX_FAIL(INTERNAL, "no memory for a pilot evaluation");
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  DX_TRY_GOTO(err, out, dx_sweep_create(&s, p, predictor, DX_TRAIN, DX_FOR_PILOT, n, T));
  s.decoder = dx_problem_decoder(p, variance);
  err = dx_sweep_run(&s, wait, &(dx_fold){fold_pilot, &terms, {{{terms.vb, (size_t)(n * T) * sizeof *terms.vb}}}});
  dx_sweep_destroy(&s);
  if (err) goto out;
  DX_TRY_GOTO(err, out, dx_comm_agree(c, lead ? dx_strata_by_pilot(n, T, terms.vb, q) : NULL));
  dx_comm_broadcast(c, q->first, ((size_t)q->count + 1) * sizeof *q->first);
  dx_comm_broadcast(c, q->size, (size_t)T * sizeof *q->size);
  dx_comm_broadcast(c, &q->gain, sizeof q->gain);
  dx_comm_broadcast(c, &q->gain_low, sizeof q->gain_low);
  dx_comm_broadcast(c, &q->gain_high, sizeof q->gain_high);
out:
  free(terms.vb);
  return err;
}

dx_error *dx_strata_find(dx_problem *p, const dx_predictor *predictor, double decoder_variance, const dx_patience *wait,
                         dx_strata *out)
{
  *out = (dx_strata){.count = dx_strata_count(p), .gain = NAN, .gain_low = NAN, .gain_high = NAN};
  out->first = calloc((size_t)out->count + 1, sizeof *out->first);
  DX_TRY(dx_comm_agree(p->team->comm, out->first ? NULL : DX_FAIL(INTERNAL, "no memory for the strata of an evaluation")));
  cut_at_squares(out->count, p->grid.steps, out->first);
  return wants_pilot(p) ? find_by_pilot(p, predictor, decoder_variance, wait, out) : NULL;
}
