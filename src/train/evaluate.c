/* SPDX-License-Identifier: Apache-2.0 */
/* train/evaluate.c - see evaluate.h.

   The work is a list of items, block by block of examples and in a block stratum by stratum;
   an item is one grain: a block at one stratum. Items are dealt out in chunks, each
   rank taking a contiguous part; rank 0 folds the answers in the order of the list. */
#include "train/evaluate.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/math.h"
#include "base/random.h"

const dx_option dx_evaluate_options[] = {
  DX_OPTION(dx_evaluate_config, every, "end", -1, 1e12, "steps between evaluations of the bound; end (0): after the last step alone, never (-1)",
            .words = "end=0|never=-1", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, examples, "all", 0, 1e12, "examples of the test split", .words = "all=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, timesteps, "all", 2, 1e6,
            "timesteps per example: all, or that many strata with one random t each", .words = "all=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, strata, "squares", 0, 0,
            "how fewer strata than timesteps share t: cut at squares and t drawn alike in each, or cut and drawn by the size "
            "of the terms in a pilot on the training split (neyman)", .choices = "squares|neyman", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, pilot, "16", 2, 1e9, "examples of the training split, each at every t, in the pilot of neyman",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, train_examples, "none", 0, 1e12,
            "examples of the training split whose bound is evaluated too, and its gap to the test split's", .words = "none=0",
            .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, clip, "true", 0, 0, "clip x0hat to the range that the data declare, if they do", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, weights, "ema", 0, 0,
            "which weights: ema (averaged, by the first rate of train.ema), ema-RATE (by that one), or raw", .role = DX_FREE),
  DX_OPTION(dx_evaluate_config, grain, "64", 1, 4096, "examples that one thread predicts at a time",
            .role = DX_FREE),
  DX_OPTION_END
};

enum { CHUNK = 16 }; /* items of a worker between gatherings */

/* The answer for one example of an item. */
typedef struct {
  double x0_sq, norm_sq;
  double vb;       /* the term of the bound, nats */
  double variance; /* of the reverse step, mean over numbers */
  double eps_sq;   /* sum of epshat^2, unclipped; of estimates alone */
  double weight;   /* of vb in the total: 1 / chance of t in its stratum */
  int64_t t;
  int32_t label;  /* -1: none */
} answer;

/* One sweep over examples x strata. */
typedef struct {
  dx_problem *problem;
  dx_objective objective;
  dx_predictor predictor;
  dx_decoder decoder;       /* set after create */
  bool estimating;          /* answers hold eps_sq, no terms */
  dx_split split;
  dx_purpose purpose;
  uint32_t layer;           /* of the random numbers: examples of the two splits share none */
  int64_t examples, grain, blocks, strata, items;
  int64_t *first;           /* (strata + 1): stratum k holds t = first[k] .. first[k+1] - 1 */
  const double *size;       /* (T) t is drawn in proportion; NULL: alike */
  dx_permutation order;
  dx_fetch *fetch;
  int64_t *index, *first_row; /* of one chunk */
  int64_t room_rows;
  float *x0;                /* this rank's rows of the chunk */
  const int32_t *label;     /* theirs, the fetch's; NULL without labels */
  float **buffer;           /* (threads) of eps, xt, and a network's output twice */
  answer *mine, *all;
  int64_t *counts, *offsets;
} sweep;

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
  *e = (dx_evaluation){0};
}

int64_t dx_evaluation_examples(const dx_problem *p)
{
  const int64_t wanted = p->spec->evaluate.examples, there = p->info->count[DX_TEST];

  return wanted > 0 && wanted < there ? wanted : there;
}

dx_error *dx_evaluation_possible(const dx_problem *p)
{
  if (p->info->count[DX_TEST] == 0)
    return DX_FAIL(DATA, "%s has no test split, which evaluations need; give it one or set evaluate.every: never",
                   p->info->name);
  return NULL;
}

static int64_t strata_of(const dx_problem *p)
{
  const int64_t K = p->spec->evaluate.timesteps, T = p->process.timesteps;

  return K > 0 && K < T ? K : T;
}

/* Examples of the training split for the optimal decoder variance. */
static int64_t decoder_examples(const dx_problem *p)
{
  const int64_t there = p->info->count[DX_TRAIN], wanted = dx_evaluation_examples(p);

  return wanted < there ? wanted : there;
}

static bool decoder_is_optimal(const dx_problem *p)
{
  return dx_problem_decoder_kind(p) == DX_DECODER_OPTIMAL;
}

/* Examples of the training split for an estimated reverse variance, at each t. */
static int64_t variance_examples(const dx_problem *p)
{
  const int64_t there = p->info->count[DX_TRAIN], wanted = p->spec->objective.variance_examples;

  return wanted < there ? wanted : there;
}

/* Examples of the training split whose bound is evaluated. */
static int64_t train_examples(const dx_problem *p)
{
  const int64_t there = p->info->count[DX_TRAIN], wanted = p->spec->evaluate.train_examples;

  return wanted < there ? wanted : there;
}

static bool wants_pilot(const dx_problem *p)
{
  return !strcmp(p->spec->evaluate.strata, "neyman") && strata_of(p) > 1 && strata_of(p) < p->process.timesteps;
}

static int64_t pilot_examples(const dx_problem *p)
{
  const int64_t there = p->info->count[DX_TRAIN], wanted = p->spec->evaluate.pilot;

  if (!wants_pilot(p)) return 0;
  return wanted < there ? wanted : there;
}

int64_t dx_evaluation_forwards(const dx_problem *p)
{
  return (dx_evaluation_examples(p) + train_examples(p)) * strata_of(p) + (decoder_is_optimal(p) ? decoder_examples(p) : 0) +
         (pilot_examples(p) + (p->objective.reverse->estimate ? variance_examples(p) : 0)) * p->process.timesteps;
}

/* Stratum 0 is t = 1; the others cut t = 2..T at squares, at least one t in each. */
static void cut_strata(int64_t K, int64_t T, int64_t *first)
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

static int64_t chunk_items(const sweep *s)
{
  const dx_team *const team = s->problem->team;

  return CHUNK * team->first_worker[dx_comm_size(team->comm)];
}

static dx_error *create_buffers(sweep *s)
{
  const dx_team *const team = s->problem->team;
  const int64_t ranks = dx_comm_size(team->comm), D = s->problem->dim, chunk = chunk_items(s);
  const bool lead = dx_comm_rank(team->comm) == 0;

  s->room_rows = (chunk / s->strata + 2 * ranks) * s->grain;
  s->first_row = calloc((size_t)ranks + 1, sizeof *s->first_row);
  s->index = calloc((size_t)s->room_rows, sizeof *s->index);
  s->x0 = calloc((size_t)(s->room_rows * D), sizeof *s->x0);
  s->buffer = calloc((size_t)team->threads, sizeof *s->buffer);
  s->mine = calloc((size_t)(chunk * s->grain), sizeof *s->mine);
  s->all = calloc(lead ? (size_t)(chunk * s->grain) : 1, sizeof *s->all);
  s->counts = calloc((size_t)ranks, sizeof *s->counts);
  s->offsets = calloc((size_t)ranks, sizeof *s->offsets);
  if (!s->first_row || !s->index || !s->x0 || !s->buffer || !s->mine || !s->all || !s->counts || !s->offsets)
    return DX_FAIL(INTERNAL, "no memory for an evaluation");
  for (int i = 0; i < team->threads; i++)
    if (!(s->buffer[i] = aligned_alloc(64, ((size_t)((2 + 2 * dx_objective_width(&s->objective)) * s->grain * D) * sizeof(float) + 63) / 64 * 64)))
      return DX_FAIL(INTERNAL, "no memory for an evaluation");
  return NULL;
}

static void sweep_destroy(sweep *s)
{
  dx_fetch_destroy(s->fetch);
  for (int i = 0; s->buffer && i < s->problem->team->threads; i++) free(s->buffer[i]);
  free(s->buffer);
  free(s->first);
  free(s->first_row);
  free(s->index);
  free(s->x0);
  free(s->mine);
  free(s->all);
  free(s->counts);
  free(s->offsets);
}

/* Collective. strata: T or fewer over t = 1..T; 1 with last_t 1 for the decoder's estimate. */
static dx_error *sweep_create(sweep *s, dx_problem *p, const dx_predictor *predictor, dx_split split,
                              dx_purpose purpose, int64_t examples, int64_t strata, int64_t last_t)
{
  const int64_t grain = p->spec->evaluate.grain;
  dx_error *err;

  *s = (sweep){.problem = p, .objective = dx_problem_clipped(p), .predictor = *predictor, .split = split,
               .purpose = purpose, .examples = examples, .grain = grain,
               .blocks = (examples + grain - 1) / grain, .strata = strata};
  s->items = s->blocks * strata;
  s->layer = split == DX_TRAIN && purpose == DX_FOR_EVAL_NOISE;
  s->objective.clip = s->objective.clip && p->spec->evaluate.clip;
  dx_permutation_init(&s->order, (uint64_t)p->info->count[split], p->spec->seed, ((uint64_t)1 << 40) - 1 - split);
  s->first = calloc((size_t)strata + 1, sizeof *s->first);
  err = s->first ? create_buffers(s) : DX_FAIL(INTERNAL, "no memory for an evaluation");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  cut_strata(strata, last_t, s->first);
  err = dx_fetch_create(p->data, split, s->room_rows, &s->fetch);
out:
  if (err) sweep_destroy(s);
  return err;
}

/* The row of example number e; those past the end are copies of example 0, masked later. */
static int64_t row_of(const sweep *s, int64_t e)
{
  return (int64_t)dx_permutation_at(&s->order, (uint64_t)(e < s->examples ? e : 0));
}

/* Items [*a, *b) of a chunk that a rank computes. */
static void part_of(const sweep *s, int64_t from, int64_t to, int rank, int64_t *a, int64_t *b)
{
  dx_team_share(s->problem->team, to - from, rank, a, b);
  *a += from;
  *b += from;
}

/* Fetch the rows of the blocks that each rank's part touches. */
static dx_error *fetch_blocks(sweep *s, int64_t from, int64_t to)
{
  const int ranks = dx_comm_size(s->problem->team->comm), me = dx_comm_rank(s->problem->team->comm);
  int64_t n = 0;
  const void *rows;

  for (int r = 0; r < ranks; r++) {
    int64_t a, b;

    part_of(s, from, to, r, &a, &b);
    s->first_row[r] = n;
    for (int64_t block = a / s->strata; a < b && block <= (b - 1) / s->strata; block++)
      for (int64_t i = 0; i < s->grain; i++) s->index[n++] = row_of(s, block * s->grain + i);
  }
  s->first_row[ranks] = n;
  dx_fetch_start(s->fetch, s->index, s->first_row);
  DX_TRY(dx_fetch_finish(s->fetch, &rows, &s->label));
  dx_dataset_normalise(s->problem->info, s->first_row[me + 1] - s->first_row[me], rows, s->x0);
  return NULL;
}

static void make_noise(const sweep *s, const int32_t *t, const uint32_t *row, bool one_t, float *eps)
{
  const int64_t D = s->problem->dim, n = one_t ? s->grain : 1;

  for (int64_t i = 0; i < s->grain; i += n) {
    const dx_stream st = {.seed = s->problem->spec->seed, .purpose = s->purpose, .layer = s->layer,
                          .step = (uint64_t)t[i]};
    uint32_t key[2], ctr[4];

    dx_stream_start(&st, key, ctr);
    s->problem->team->kernel.normals(key, ctr, n, row + i, D, eps + i * D);
  }
}

/* t of stratum k, in proportion to size, by one word; *weight is 1 / its chance. */
static int32_t draw_by_size(const sweep *s, int64_t k, uint32_t word, double *weight)
{
  double sum = 0, below = 0;
  int64_t t = s->first[k];

  for (int64_t i = s->first[k]; i < s->first[k + 1]; i++) sum += s->size[i - 1];
  for (; t + 1 < s->first[k + 1] && below + s->size[t - 1] <= dx_uniform(word) * sum; t++) below += s->size[t - 1];
  *weight = sum / s->size[t - 1];
  return (int32_t)t;
}

/* The t of each example of a block in stratum k with its weight, and the rows that name their random numbers. */
static void draw_times(const sweep *s, int64_t k, const int64_t *index, int32_t *t, double *weight, uint32_t *rows)
{
  const int64_t width = s->first[k + 1] - s->first[k];

  for (int64_t i = 0; i < s->grain; i++) {
    dx_stream st = {.seed = s->problem->spec->seed, .purpose = DX_FOR_EVAL_TIME, .layer = s->layer,
                    .step = (uint64_t)k};
    uint32_t word[4] = {0};

    rows[i] = (uint32_t)index[i];
    st.index = rows[i];
    if (width > 1) dx_stream_words(&st, 0, word);
    weight[i] = (double)width;
    if (width > 1 && s->size) t[i] = draw_by_size(s, k, word[0], &weight[i]);
    else t[i] = (int32_t)(s->first[k] + dx_below(word[0], (uint32_t)width));
  }
}

/* Sum of epshat^2 of one example, before any clipping; room (D). */
static double noise_square(const dx_objective *o, int32_t t, const float *xt, const float *out, float *room)
{
  const dx_affine f = o->predict->at(o->process, t - 1);

  o->kernel->mix(o->dim, (float)f.eps_xt, xt, (float)f.eps_out, out, room);
  return o->kernel->sum_squares(o->dim, room);
}

static double mean_variance(const dx_objective *o, const dx_decoder *d, int32_t t, const float *log_var)
{
  double sum = 0;

  if (t == 1 && !d->learned) return d->variance;
  if (!log_var) return o->process->var[t - 1];
  for (int64_t j = 0; j < o->dim; j++) sum += dx_exp(log_var[j]);
  return sum / (double)o->dim;
}

/* What the record wants of one example at t; x0hat as it is used, log_var (D) or NULL. */
static void measure(const sweep *s, int32_t t, const float *x0, const float *x0hat, const float *log_var, answer *out)
{
  const dx_objective *const o = &s->objective;

  out->t = t;
  out->x0_sq = o->kernel->sum_squared_diff(o->dim, x0, x0hat);
  out->norm_sq = o->kernel->sum_squares(o->dim, x0);
  if (s->estimating) return;
  out->vb = dx_objective_vb(o, &s->decoder, t, x0, x0hat, log_var);
  out->variance = mean_variance(o, &s->decoder, t, log_var);
}

/* One item: a block of examples, each at its t of the stratum. */
static void compute_item(sweep *s, int thread, int64_t item, int64_t first_block, int64_t my_row, answer *out)
{
  const dx_objective *const o = &s->objective;
  const int64_t g = s->grain, D = o->dim, block = item / s->strata, k = item % s->strata;
  const int64_t at = (block - first_block) * g, n = g * D;
  const float *const x0 = s->x0 + at * D;
  float *const eps = s->buffer[thread], *const xt = eps + n, *const x0hat = xt + n;
  float *const log_var = o->reverse->line ? x0hat + 2 * n : NULL;
  int32_t t[g];
  uint32_t row[g];
  double weight[g];
  dx_level level[g];

  draw_times(s, k, s->index + my_row + at, t, weight, row);
  make_noise(s, t, row, s->first[k + 1] - s->first[k] == 1, eps);
  for (int64_t i = 0; i < g; i++) level[i] = dx_objective_level(o, t[i]);
  dx_objective_noise(o, g, level, x0, eps, xt);
  s->predictor.predict(s->predictor.ctx, thread, g, t, s->label ? s->label + at : NULL, xt, x0hat);
  for (int64_t i = 0; i < g; i++)
    out[i] = (answer){.weight = weight[i], .label = s->label ? s->label[at + i] : -1,
                      .eps_sq = s->estimating ? noise_square(o, t[i], xt + i * D, x0hat + i * D, eps) : 0};
  if (log_var) dx_objective_log_var(o, g, t, x0hat, log_var);
  dx_objective_x0(o, g, t, xt, x0hat, x0hat);
  for (int64_t i = 0; i < g; i++)
    measure(s, t[i], x0 + i * D, x0hat + i * D, log_var ? log_var + i * D : NULL, &out[i]);
}

/* Items [from, to): computed by all, the answers in order on rank 0 (s->all).  Collective */
static dx_error *compute_chunk(sweep *s, int64_t from, int64_t to)
{
  const dx_team *const team = s->problem->team;
  const int me = dx_comm_rank(team->comm);
  int64_t a, b;

  DX_TRY(fetch_blocks(s, from, to));
  part_of(s, from, to, me, &a, &b);
#pragma omp parallel num_threads(team->threads)
  {
    dx_float_mode();
#pragma omp for schedule(dynamic)
    for (int64_t item = a; item < b; item++) {
      compute_item(s, omp_get_thread_num(), item, a / s->strata, s->first_row[me],
                   s->mine + (item - a) * s->grain);
      dx_watch_say("evaluation");
    }
  }
  for (int r = 0; r < dx_comm_size(team->comm); r++) {
    int64_t first, last;

    part_of(s, from, to, r, &first, &last);
    s->offsets[r] = (first - from) * s->grain;
    s->counts[r] = (last - first) * s->grain;
  }
  dx_comm_gather(team->comm, s->mine, (b - a) * s->grain, s->all, s->counts, s->offsets, sizeof *s->mine);
  return NULL;
}

/* What a sweep's answers are given to, in order: example e, stratum k. */
typedef void (*fold_fn)(void *ctx, int64_t e, int64_t k, const answer *a);

static void fold_chunk(const sweep *s, int64_t from, int64_t to, fold_fn fold, void *ctx)
{
  for (int64_t item = from; item < to; item++)
    for (int64_t i = 0; i < s->grain; i++) {
      const int64_t e = item / s->strata * s->grain + i, k = item % s->strata;

      if (e < s->examples) fold(ctx, e, k, &s->all[(item - from) * s->grain + i]);
    }
}

static void show_progress(const sweep *s, int64_t done, double begin)
{
  const double spent = dx_clock() - begin;
  char left[32];

  dx_log_progress(s->problem->team->log, "evaluation %3.0f%%  %s left", 100.0 * (double)done / (double)s->items,
                  dx_clock_words(spent * (double)(s->items - done) / (double)(done ? done : 1), left));
}

/* Who may end a sweep before its time. */
typedef struct {
  bool (*stopping)(void *ctx);
  void *ctx;
} patience;

/* All items.  Collective */
static dx_error *sweep_run(sweep *s, const patience *wait, fold_fn fold, void *ctx)
{
  const dx_comm *const c = s->problem->team->comm;
  const double begin = dx_clock();
  const int64_t chunk = chunk_items(s);

  for (int64_t from = 0; from < s->items; from += chunk) {
    const int64_t to = from + chunk < s->items ? from + chunk : s->items;

    dx_watch_say("evaluation");
    if (dx_comm_max_i64(c, wait->stopping && wait->stopping(wait->ctx))) return DX_FAIL(STOPPED, "stopped during an evaluation");
    DX_TRY(compute_chunk(s, from, to));
    if (dx_comm_rank(c) == 0) {
      fold_chunk(s, from, to, fold, ctx);
      show_progress(s, to, begin);
    }
  }
  return NULL;
}

static void fold_decoder(void *ctx, int64_t e, int64_t k, const answer *a)
{
  (void)e;
  (void)k;
  *(double *)ctx += a->x0_sq;
}

/* The decoder's variance; where it is to be optimal, from the training split at t = 1. */
static dx_error *find_decoder(dx_problem *p, const dx_predictor *predictor, const patience *wait, double *out)
{
  const int64_t n = decoder_examples(p);
  double sum = 0;
  sweep s;

  if (decoder_is_optimal(p)) {
    DX_TRY(sweep_create(&s, p, predictor, DX_TRAIN, DX_FOR_DECODER, n, 1, 1));
    s.estimating = true;
    dx_error *err = sweep_run(&s, wait, fold_decoder, &sum);
    sweep_destroy(&s);
    if (err) return err;
    dx_comm_broadcast(p->team->comm, &sum, sizeof sum);
  }
  *out = dx_decoder_variance(&p->process, dx_problem_decoder_kind(p),
                             sum / ((double)n * (double)p->dim));
  return NULL;
}

/* Sums over the training split, by t. */
typedef struct { double *x0_sq, *eps_sq; } errors;

static void fold_errors(void *ctx, int64_t e, int64_t k, const answer *a)
{
  errors *const y = ctx;

  (void)e;
  (void)k;
  y->x0_sq[a->t - 1] += a->x0_sq;
  y->eps_sq[a->t - 1] += a->eps_sq;
}

/* clip: x0hat as its user will, if the data declare a range. */
static dx_error *estimate_variance(dx_problem *p, const float *w, bool clip, const patience *wait)
{
  const int64_t T = p->process.timesteps, n = variance_examples(p);
  const double numbers = (double)n * (double)p->dim;
  errors sum = {0};
  dx_predictor predictor;
  dx_error *err;
  sweep s;

  if (!p->objective.reverse->estimate) return NULL;
  sum.x0_sq = calloc(2 * (size_t)T, sizeof *sum.x0_sq);
  err = sum.x0_sq ? NULL : DX_FAIL(INTERNAL, "no memory for variances");
  if (!err) err = dx_problem_predictor(p, w, p->spec->evaluate.grain, &predictor);
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  sum.eps_sq = sum.x0_sq + T;
  DX_TRY_GOTO(err, out, sweep_create(&s, p, &predictor, DX_TRAIN, DX_FOR_VARIANCE, n, T, T));
  s.estimating = true;
  s.objective.clip = dx_problem_clipped(p).clip && clip;
  err = sweep_run(&s, wait, fold_errors, &sum);
  sweep_destroy(&s);
  if (err) goto out;
  dx_comm_broadcast(p->team->comm, sum.x0_sq, 2 * (size_t)T * sizeof *sum.x0_sq);
  for (int64_t i = 1; i < T; i++) {
    p->process.var[i] = p->objective.reverse->estimate(&p->process, i, sum.x0_sq[i] / numbers, sum.eps_sq[i] / numbers);
    p->process.log_var[i] = dx_log(p->process.var[i]);
  }
out:
  free(sum.x0_sq);
  return err;
}

dx_error *dx_estimate_variance(dx_problem *p, const float *w, bool (*stopping)(void *ctx), void *ctx)
{
  return estimate_variance(p, w, true, &(patience){.stopping = stopping, .ctx = ctx});
}

/* Where the strata of an evaluation lie, if not at squares. */
typedef struct {
  int64_t *first;   /* (strata + 1); NULL: at squares */
  double *size;     /* (T) */
  double gain;
} plan;

/* Sums of the pilot, by t. */
typedef struct { double *vb, *square; } pilot_sums;

static void fold_pilot(void *ctx, int64_t e, int64_t k, const answer *a)
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

static void plan_free(plan *q)
{
  free(q->first);
  free(q->size);
}

/* Every t of a few examples of the training split: those of the test split stay unseen, so that the bound is unbiased.
   Collective */
static dx_error *find_plan(dx_problem *p, const dx_predictor *predictor, double variance, const patience *wait, plan *q)
{
  const int64_t T = p->process.timesteps, K = strata_of(p), n = pilot_examples(p);
  pilot_sums sums = {0};
  int64_t *squares = NULL;
  dx_error *err;
  sweep s;

  if (!wants_pilot(p)) return NULL;
  q->first = calloc((size_t)K + 1, sizeof *q->first);
  squares = calloc((size_t)K + 1, sizeof *squares);
  q->size = calloc((size_t)T, sizeof *q->size);
  sums.vb = calloc(2 * (size_t)T, sizeof *sums.vb);
  err = q->first && squares && q->size && sums.vb ? NULL : DX_FAIL(INTERNAL, "no memory for a pilot evaluation");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  sums.square = sums.vb + T;
  DX_TRY_GOTO(err, out, sweep_create(&s, p, predictor, DX_TRAIN, DX_FOR_PILOT, n, T, T));
  s.decoder = dx_problem_decoder(p, variance);
  err = sweep_run(&s, wait, fold_pilot, &sums);
  sweep_destroy(&s);
  if (err) goto out;
  dx_comm_broadcast(p->team->comm, sums.vb, 2 * (size_t)T * sizeof *sums.vb);
  for (int64_t i = 0; i < 2 * T; i++) sums.vb[i] /= (double)n;
  set_sizes(T, sums.square, q->size);
  cut_by_size(K, T, q->size, q->first);
  cut_strata(K, T, squares);
  q->gain = variance_by_pilot(K, squares, NULL, sums.square, sums.vb) /
            variance_by_pilot(K, q->first, q->size, sums.square, sums.vb);
out:
  free(squares);
  free(sums.vb);
  return err;
}

/* Rank 0's sums over a whole evaluation. */
typedef struct {
  const dx_problem *problem;
  int64_t strata, grain;
  const plan *plan;
  moments *vb;            /* (T) */
  double *mse, *x0, *variance; /* (T) sums */
  double *running;        /* (grain) totals of the block's examples */
  moments prior, total;
  moments *of_class;      /* (classes) */
} tally;

static void fold_terms(void *ctx, int64_t e, int64_t k, const answer *a)
{
  tally *const y = ctx;
  const dx_process *const p = &y->problem->process;
  const int64_t D = y->problem->dim, row = a->t - 1;
  const double x0_mse = a->x0_sq / (double)D;
  double *const total = &y->running[e % y->grain];

  if (k == 0) {
    *total = dx_process_prior(p, D, a->norm_sq);
    moments_add(&y->prior, *total);
  }
  *total += a->weight * a->vb;
  moments_add(&y->vb[row], a->vb);
  y->variance[row] += a->variance;
  y->x0[row] += x0_mse;
  y->mse[row] += x0_mse * p->abar[row] / p->nbar[row]; /* of epshat from the clipped x0hat */
  if (k < y->strata - 1) return;
  moments_add(&y->total, *total);
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
  out->class_count = out->variance + T;
  out->class_total = out->class_count + classes;
  out->class_stderr = out->class_total + classes;
  return NULL;
}

static void finish(const tally *y, dx_evaluation *out)
{
  for (int64_t i = 0; i < out->timesteps; i++) {
    const double n = (double)y->vb[i].n;

    out->vb[i] = moments_mean(&y->vb[i]);
    out->vb_stderr[i] = moments_stderr(&y->vb[i]);
    out->mse[i] = n > 0 ? y->mse[i] / n : NAN;
    out->x0_mse[i] = n > 0 ? y->x0[i] / n : NAN;
    out->count[i] = n;
    out->variance[i] = n > 0 ? y->variance[i] / n : NAN;
  }
  for (int64_t i = 0; i < out->classes; i++) {
    out->class_count[i] = (double)y->of_class[i].n;
    out->class_total[i] = moments_mean(&y->of_class[i]);
    out->class_stderr[i] = moments_stderr(&y->of_class[i]);
  }
  out->head.prior = moments_mean(&y->prior);
  out->head.prior_stderr = moments_stderr(&y->prior);
  out->head.decoder = out->vb[0];
  out->head.decoder_stderr = out->vb_stderr[0];
  out->head.total = moments_mean(&y->total);
  out->head.total_stderr = moments_stderr(&y->total);
}

static dx_error *create_tally(tally *y, dx_problem *p, int64_t K, const plan *q)
{
  const size_t T = (size_t)p->process.timesteps;

  *y = (tally){.problem = p, .strata = K, .grain = p->spec->evaluate.grain, .plan = q};
  y->vb = calloc(T, sizeof *y->vb);
  y->mse = calloc(T, sizeof *y->mse);
  y->x0 = calloc(T, sizeof *y->x0);
  y->variance = calloc(T, sizeof *y->variance);
  y->running = calloc((size_t)y->grain, sizeof *y->running);
  y->of_class = calloc((size_t)p->info->classes + 1, sizeof *y->of_class);
  return y->vb && y->mse && y->x0 && y->variance && y->running && y->of_class ? NULL
                                                                               : DX_FAIL(INTERNAL, "no memory for an evaluation");
}

static void destroy_tally(tally *y)
{
  free(y->vb);
  free(y->mse);
  free(y->x0);
  free(y->variance);
  free(y->running);
  free(y->of_class);
}

/* The bound of N examples of a split, with that variance of the decoder.  Collective */
static dx_error *find_bound(dx_problem *p, const dx_predictor *predictor, double variance, dx_split split, int64_t N,
                            const patience *wait, tally *y)
{
  dx_error *err;
  sweep s;

  DX_TRY(sweep_create(&s, p, predictor, split, DX_FOR_EVAL_NOISE, N, y->strata, p->process.timesteps));
  s.decoder = dx_problem_decoder(p, variance);
  if (y->plan->first) {
    memcpy(s.first, y->plan->first, ((size_t)y->strata + 1) * sizeof *s.first);
    s.size = y->plan->size;
  }
  err = sweep_run(&s, wait, fold_terms, y);
  sweep_destroy(&s);
  return err;
}

/* The training split's bound, if it is wanted, beside that of the test split. */
static dx_error *find_gap(dx_problem *p, const dx_predictor *predictor, double variance, const patience *wait,
                          const plan *q, dx_evaluation_head *h)
{
  dx_error *err;
  tally y;

  h->train = h->train_stderr = h->gap = h->gap_stderr = NAN;
  if (train_examples(p) == 0) return NULL;
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, create_tally(&y, p, strata_of(p), q)));
  DX_TRY_GOTO(err, out, find_bound(p, predictor, variance, DX_TRAIN, train_examples(p), wait, &y));
  h->train = moments_mean(&y.total);
  h->train_stderr = moments_stderr(&y.total);
  h->gap = h->total - h->train;
  h->gap_stderr = sqrt(h->total_stderr * h->total_stderr + h->train_stderr * h->train_stderr);
out:
  destroy_tally(&y);
  return err;
}

dx_error *dx_evaluate(dx_problem *p, const float *w, int64_t step, int ema, bool (*stopping)(void *ctx),
                      void *ctx, dx_evaluation *out)
{
  const patience wait = {.stopping = stopping, .ctx = ctx};
  const int64_t K = strata_of(p), N = dx_evaluation_examples(p);
  const dx_comm *const c = p->team->comm;
  dx_predictor predictor;
  dx_error *err;
  plan q = {.gain = NAN};
  double variance;
  tally y;

  *out = (dx_evaluation){0};
  DX_TRY(dx_evaluation_possible(p));
  err = create_tally(&y, p, K, &q);
  if (!err) err = create_result(p->process.timesteps, p->info->classes, out);
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  DX_TRY_GOTO(err, out, estimate_variance(p, w, p->spec->evaluate.clip, &wait));
  DX_TRY_GOTO(err, out, dx_comm_agree(c, dx_problem_predictor(p, w, p->spec->evaluate.grain, &predictor)));
  DX_TRY_GOTO(err, out, find_decoder(p, &predictor, &wait, &variance));
  DX_TRY_GOTO(err, out, find_plan(p, &predictor, variance, &wait, &q));
  DX_TRY_GOTO(err, out, find_bound(p, &predictor, variance, DX_TEST, N, &wait, &y));
  out->head = (dx_evaluation_head){.step = step, .examples = N, .ema = ema, .decoder_variance = variance,
                                    .strata_gain = q.gain};
  finish(&y, out);
  DX_TRY_GOTO(err, out, find_gap(p, &predictor, variance, &wait, &q, &out->head));
  dx_comm_broadcast(c, &out->head, sizeof out->head);
  if (!isfinite(out->head.total))
    err = DX_FAIL(NUMERIC, "step %lld: the bound of the test split is %g", (long long)step, out->head.total);
out:
  destroy_tally(&y);
  plan_free(&q);
  if (err) dx_evaluation_free(out);
  return err;
}
