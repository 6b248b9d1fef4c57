/* SPDX-License-Identifier: Apache-2.0 */
/* train/sweep.c - see sweep.h. */
#include "train/sweep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/math.h"
#include "base/memory.h"

enum { CHUNK = 16 }; /* items of a worker between gatherings, at most */

static int64_t workers(const dx_sweep *s)
{
  const dx_team *const team = s->problem->team;

  return team->first_worker[dx_comm_size(team->comm)];
}

/* Items of the next chunk, after one that took so long: a few seconds' worth, since a stop waits for its end. */
static int64_t next_chunk(const dx_sweep *s, int64_t chunk, double seconds)
{
  if (seconds < 2 && chunk < CHUNK * workers(s)) return 2 * chunk;
  if (seconds > 8 && chunk > workers(s)) return chunk / 2;
  return chunk;
}

static dx_error *create_buffers(dx_sweep *s)
{
  const dx_team *const team = s->problem->team;
  const int64_t ranks = dx_comm_size(team->comm), D = s->problem->dim, chunk = CHUNK * workers(s);
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
    if (!(s->buffer[i] = dx_memory((size_t)((2 + 2 * dx_objective_width(&s->objective)) * s->grain * D) * sizeof(float))))
      return DX_FAIL(INTERNAL, "no memory for an evaluation");
  return NULL;
}

void dx_sweep_destroy(dx_sweep *s)
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

void dx_sweep_order(const dx_problem *p, dx_split split, dx_permutation *out)
{
  dx_permutation_init(out, (uint64_t)p->info->count[split], p->spec->seed, ((uint64_t)1 << 40) - 1 - split);
}

dx_error *dx_sweep_create(dx_sweep *s, dx_problem *p, const dx_predictor *predictor, dx_split split, dx_purpose purpose,
                          int64_t examples, int64_t strata)
{
  const int64_t grain = p->spec->evaluate.grain;
  dx_error *err;

  *s = (dx_sweep){.problem = p, .objective = dx_problem_clipped(p), .predictor = *predictor, .split = split,
                  .purpose = purpose, .examples = examples, .grain = grain,
                  .blocks = (examples + grain - 1) / grain, .strata = strata, .draws = 1};
  s->items = s->blocks * strata;
  s->layer = split == DX_TRAIN && purpose == DX_FOR_EVAL_NOISE;
  s->objective.clip = s->objective.clip && p->spec->evaluate.clip;
  s->bound = s->objective;
  s->bound.process = &p->grid.process;
  s->time = p->grid.t;
  dx_sweep_order(p, split, &s->order);
  s->first = calloc((size_t)strata + 1, sizeof *s->first);
  err = s->first ? create_buffers(s) : DX_FAIL(INTERNAL, "no memory for an evaluation");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  for (int64_t k = 0; k <= strata; k++) s->first[k] = k + 1;
  err = dx_fetch_create(p->data, split, s->room_rows, &s->fetch);
out:
  if (err) dx_sweep_destroy(s);
  return err;
}

void dx_sweep_every_step(dx_sweep *s)
{
  s->objective = s->bound = dx_problem_clipped(s->problem);
  s->time = NULL;
}

/* The row of example number e; those past the end are copies of example 0, masked later. */
static int64_t row_of(const dx_sweep *s, int64_t e)
{
  return (int64_t)dx_permutation_at(&s->order, (uint64_t)(e < s->examples ? e : 0));
}

/* Items [*a, *b) of a chunk that a rank computes. */
static void part_of(const dx_sweep *s, int64_t from, int64_t to, int rank, int64_t *a, int64_t *b)
{
  dx_team_share(s->problem->team, to - from, rank, a, b);
  *a += from;
  *b += from;
}

/* Fetch the rows of the blocks that each rank's part touches. */
static dx_error *fetch_blocks(dx_sweep *s, int64_t from, int64_t to)
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

/* The draw stands above the bits of t, so that draw 0 is that of a single one. */
static void make_noise(const dx_sweep *s, int64_t draw, const int32_t *time, const uint32_t *row, bool one_t, float *eps)
{
  const int64_t D = s->problem->dim, n = one_t ? s->grain : 1;

  for (int64_t i = 0; i < s->grain; i += n) {
    const dx_stream st = {.seed = s->problem->spec->seed, .purpose = s->purpose, .layer = s->layer,
                          .step = (uint64_t)draw << 32 | (uint64_t)time[i]};
    uint32_t key[2], ctr[4];

    dx_stream_start(&st, key, ctr);
    s->problem->team->kernel.normals(key, ctr, n, row + i, D, eps + i * D);
  }
}

/* t of stratum k, in proportion to size, by one word; *weight is 1 / its chance. */
static int32_t draw_by_size(const dx_sweep *s, int64_t k, uint32_t word, double *weight)
{
  double sum = 0, below = 0;
  int64_t t = s->first[k];

  for (int64_t i = s->first[k]; i < s->first[k + 1]; i++) sum += s->size[i - 1];
  for (; t + 1 < s->first[k + 1] && below + s->size[t - 1] <= dx_uniform(word) * sum; t++) below += s->size[t - 1];
  *weight = sum / s->size[t - 1];
  return (int32_t)t;
}

/* A block of examples, each at its t. */
typedef struct {
  const int32_t *t, *time;   /* step of the grid, and t of the network there */
  const int32_t *label;      /* NULL: none */
  const uint32_t *row;       /* names an example's random numbers */
  const double *weight;
  const float *x0;
  bool one_t;                /* all at the same */
} places;

/* The t of each example of a block in stratum k with its weight, and the rows that name their random numbers. */
static void draw_times(const dx_sweep *s, int64_t k, const int64_t *index, int32_t *t, double *weight, uint32_t *rows)
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
  const dx_affine f = o->predict->at(o->process, t - 1, dx_objective_level(o, t));

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

/* What the record wants of one example at step t of the grid; x0hat as it is used, log_var (D) or NULL. */
static void measure(const dx_sweep *s, int32_t t, const float *x0, const float *x0hat, const float *log_var, dx_answer *out)
{
  const dx_objective *const o = &s->bound;

  out->t = t;
  out->x0_sq = o->kernel->sum_squared_diff(o->dim, x0, x0hat);
  out->norm_sq = o->kernel->sum_squares(o->dim, x0);
  if (s->estimating) return;
  out->vb = dx_objective_vb(o, &s->decoder, t, x0, x0hat, log_var);
  out->variance = mean_variance(o, &s->decoder, t, log_var);
}

/* One more draw (number r, from 0) of an example's answer; its means and deviations run along. */
static void add_draw(int64_t r, const dx_answer *a, dx_answer *out)
{
  const double n = (double)(r + 1), off = a->vb - out->vb;

  if (r == 0) {
    *out = *a;
    return;
  }
  out->x0_sq += (a->x0_sq - out->x0_sq) / n;
  out->variance += (a->variance - out->variance) / n;
  out->vb += off / n;
  out->spread += off * (a->vb - out->vb);
}

/* A draw of noise for a block of examples x0, each at its t, and what is predicted of it. */
static void compute_draw(const dx_sweep *s, int crew, int64_t r, const places *at, dx_answer *out)
{
  const dx_objective *const o = &s->objective;
  const int64_t g = s->grain, D = o->dim, n = g * D;
  float *const eps = s->buffer[crew], *const xt = eps + n, *const x0hat = xt + n;
  float *const log_var = o->reverse->line ? x0hat + 2 * n : NULL;

  make_noise(s, r, at->time, at->row, at->one_t, eps);
  for (int64_t i = 0; i < g; i++) {
    const dx_level level = dx_objective_level(o, at->time[i]);

    dx_objective_noise(o, 1, &level, at->x0 + i * D, eps + i * D, xt + i * D);
  }
  s->predictor.predict(s->predictor.ctx, crew, g, at->time, NULL, at->label, xt, x0hat);
  for (int64_t i = 0; s->estimating && i < g; i++) out[i].eps_sq = noise_square(o, at->time[i], xt + i * D, x0hat + i * D, eps);
  if (log_var) dx_objective_log_var(&s->bound, g, at->t, x0hat, log_var);
  dx_objective_x0(o, g, at->time, NULL, xt, x0hat, x0hat);
  for (int64_t i = 0; i < g; i++) {
    dx_answer a = {.weight = at->weight[i], .label = at->label ? at->label[i] : -1, .eps_sq = out[i].eps_sq};

    measure(s, at->t[i], at->x0 + i * D, x0hat + i * D, log_var ? log_var + i * D : NULL, &a);
    add_draw(r, &a, &out[i]);
  }
}

/* This rank's part of a chunk: items from `first` on. */
typedef struct { dx_sweep *s; int64_t first, row; } part;

/* One item: a block of examples, each at its t of the stratum. */
static void compute_item(void *part_, int crew, int64_t at_)
{
  const part *const q = part_;
  const dx_sweep *const s = q->s;
  const int64_t item = q->first + at_, g = s->grain, k = item % s->strata, from = (item / s->strata - q->first / s->strata) * g;
  dx_answer *const out = s->mine + at_ * g;
  int32_t t[g], time[g];
  uint32_t row[g];
  double weight[g];
  const places at = {.t = t, .time = time, .row = row, .weight = weight, .label = s->label ? s->label + from : NULL,
                     .x0 = s->x0 + from * s->objective.dim, .one_t = s->first[k + 1] - s->first[k] == 1};

  draw_times(s, k, s->index + q->row + from, t, weight, row);
  for (int64_t i = 0; i < g; i++) time[i] = s->time ? (int32_t)s->time[t[i] - 1] : t[i];
  for (int64_t r = 0; r < s->draws; r++) compute_draw(s, crew, r, &at, out);
  dx_watch_say("evaluation");
}

/* Items [from, to): computed by all, the answers in order on rank 0 (s->all).  Collective */
static dx_error *compute_chunk(dx_sweep *s, int64_t from, int64_t to)
{
  const dx_team *const team = s->problem->team;
  const int me = dx_comm_rank(team->comm);
  int64_t a, b;

  DX_TRY(fetch_blocks(s, from, to));
  part_of(s, from, to, me, &a, &b);
  dx_team_each(team, s->predictor.crews, b - a, compute_item, &(part){s, a, s->first_row[me]});
  for (int r = 0; r < dx_comm_size(team->comm); r++) {
    int64_t first, last;

    part_of(s, from, to, r, &first, &last);
    s->offsets[r] = (first - from) * s->grain;
    s->counts[r] = (last - first) * s->grain;
  }
  dx_comm_gather(team->comm, s->mine, (b - a) * s->grain, s->all, s->counts, s->offsets, sizeof *s->mine);
  return NULL;
}

static void fold_chunk(const dx_sweep *s, int64_t from, int64_t to, const dx_fold *fold)
{
  for (int64_t item = from; item < to; item++)
    for (int64_t i = 0; i < s->grain; i++) {
      const int64_t e = item / s->strata * s->grain + i, k = item % s->strata;

      if (e < s->examples) fold->add(fold->ctx, e, k, &s->all[(item - from) * s->grain + i]);
    }
}

/* Items [first, done) since begin. */
static void show_progress(const dx_sweep *s, int64_t first, int64_t done, double begin)
{
  const double spent = dx_clock() - begin;
  char left[32];

  dx_log_progress(s->problem->team->log, "evaluation %3.0f%%  %s left", 100.0 * (double)done / (double)s->items,
                  dx_clock_words(spent * (double)(s->items - done) / (double)(done - first), left));
}

/* How many items the sums hold already.  Collective */
static int64_t items_done(const dx_sweep *s, const dx_patience *wait, const dx_fold *fold)
{
  int64_t done = wait->partial ? dx_partial_begin(wait->partial, &fold->sums) : 0;

  dx_comm_broadcast(s->problem->team->comm, &done, sizeof done);
  if (done > 0 && done < s->items)
    dx_log_say(s->problem->team->log, DX_LOG_INFO, "the evaluation goes on where it was stopped, %.0f %% of its %lld grains done",
               100.0 * (double)done / (double)s->items, (long long)s->items);
  return done;
}

dx_error *dx_sweep_run(dx_sweep *s, const dx_patience *wait, const dx_fold *fold)
{
  const dx_comm *const c = s->problem->team->comm;
  const double begin = dx_clock();
  const int64_t first = items_done(s, wait, fold);
  int64_t chunk = workers(s);

  for (int64_t from = first, to; from < s->items; from = to) {
    const double start = dx_clock();

    to = from + chunk < s->items ? from + chunk : s->items;

    dx_watch_say("evaluation");
    if (dx_comm_max_i64(c, wait->stopping && wait->stopping(wait->ctx))) {
      if (wait->partial) dx_partial_write(wait->partial);
      return DX_FAIL(STOPPED, "stopped during an evaluation; the same command goes on");
    }
    DX_TRY(compute_chunk(s, from, to));
    if (dx_comm_rank(c) == 0) {
      fold_chunk(s, from, to, fold);
      if (wait->partial) dx_partial_reach(wait->partial, to);
      show_progress(s, first, to, begin);
    }
    chunk = next_chunk(s, chunk, dx_clock() - start);
    dx_comm_broadcast(c, &chunk, sizeof chunk); /* rank 0's clock is that of all */
  }
  if (wait->partial) dx_partial_end(wait->partial);
  return NULL;
}
