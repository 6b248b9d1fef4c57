/* SPDX-License-Identifier: Apache-2.0 */
/* train/trainer.c - see trainer.h. */
#include "train/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/tree.h"
#include "comm/reduce.h"
#include "train/optimizer.h"

/* What one crew works on: one grain at a time. */
typedef struct {
  float *eps, *xt;                /* (grain, D) */
  float *out, *gout;              /* (grain, width D) */
  float *room;                    /* (D) */
  float *memory;                  /* owns them */
} worker;

/* What the history of losses wants to know of one example. */
typedef struct { double loss, t; } told;

/* What the record wants to know of one example. */
typedef struct {
  double loss, mse, x0_mse, vb;
  int64_t t;
} note;

enum { NOTES_MOST = 64 }; /* steps between collections, at most */

struct dx_trainer {
  dx_problem *problem;
  const dx_train_config *config;
  const dx_times *times;
  dx_state state;
  bool of_node;                   /* ranks of a node have one vector of weights */
  size_t shared;                  /* its bytes where it is not one rank's own, else 0 */
  dx_reduce *reduce;
  dx_fetch *fetch;
  int64_t coming;                 /* the step whose rows are on their way; -1: none */
  int64_t grains, first, last;    /* of the step; of this rank */
  int64_t *first_row;             /* (ranks + 1) places in the batch */
  int64_t *index;                 /* (batch) rows of the step that is fetched */
  int64_t epoch;                  /* of order */
  dx_permutation order;
  float *x0;                      /* (this rank's examples, D) of the current step */
  const int32_t *label;           /* (this rank's examples), the fetch's; NULL without labels */
  int32_t *t;                     /* (this rank's examples) */
  int crews;                      /* of this rank's threads */
  worker *worker;                 /* (crews) */
  note *note, *all_notes;         /* (NOTES_MOST x examples) here; of all ranks on rank 0 */
  int64_t noted;                  /* steps in note */
  told *told;                     /* (batch) of one step, all ranks' */
  double *sums;                   /* per rank: failed, stop, its blocks' squares */
  double *tree;                   /* (blocks) */
  int64_t *counts, *offsets;      /* (ranks) of one gathering */
};

static const dx_comm *comm_of(const dx_trainer *t) { return t->problem->team->comm; }
static int64_t examples(const dx_trainer *t) { return (t->last - t->first) * t->config->grain; }

static float *floats(int64_t n)
{
  float *const p = dx_memory((size_t)n * sizeof(float));

  if (p) memset(p, 0, (size_t)n * sizeof(float));
  return p;
}

static dx_error *no_memory(void) { return DX_FAIL(INTERNAL, "no memory for the training state"); }

static dx_error *no_memory_of(int64_t examples)
{
  return DX_FAIL(INTERNAL, "no memory for the %lld examples that this rank has of a batch; a smaller train.batch, or ranks on more nodes, "
                 "take less (--dry-run tells how much)", (long long)examples);
}

static dx_error *create_window(dx_window *w, int64_t T)
{
  w->count = calloc((size_t)T, sizeof *w->count);
  w->mse = calloc((size_t)T, sizeof *w->mse);
  w->x0_mse = calloc((size_t)T, sizeof *w->x0_mse);
  w->vb = calloc((size_t)T, sizeof *w->vb);
  return w->count && w->mse && w->x0_mse && w->vb ? NULL : no_memory();
}

/* One vector of weights for the ranks of each node, where all nodes can have that.  Collective */
static void share_weights(dx_trainer *t)
{
  const dx_comm *const c = comm_of(t);
  const int64_t n = dx_problem_floats(t->problem);
  const size_t bytes = (size_t)n * sizeof(float);

  if (!dx_reduce_shares(n) || dx_comm_nodes(c) == dx_comm_size(c)) return;
  t->state.w = dx_comm_node_memory(c, bytes);
  t->shared = t->state.w ? bytes : 0;
  t->of_node = dx_comm_min_i64(c, t->shared || dx_comm_node_size(c) == 1);
  if (t->of_node) return;
  dx_comm_node_memory_free(t->state.w, bytes);
  t->shared = 0;
}

static dx_error *create_state(dx_trainer *t)
{
  dx_state *const s = &t->state;
  const dx_problem *const p = t->problem;

  s->floats = dx_problem_floats(p);
  dx_reduce_slice(t->reduce, dx_comm_rank(comm_of(t)), &s->at, &s->n);
  if (!t->shared) s->w = floats(s->floats);
  s->moment1 = floats(s->n);
  s->moment2 = floats(s->n);
  if (!s->w || !s->moment1 || !s->moment2) return no_memory();
  s->averages = dx_averages(t->config);
  for (int i = 0; i < s->averages; i++)
    if (!(s->ema[i] = floats(s->n))) return no_memory();
  if (t->times->learns) DX_TRY(dx_history_create(p->process.timesteps, &s->history));
  return create_window(&s->window, p->process.timesteps);
}

static dx_error *create_buffers(dx_trainer *t)
{
  const int ranks = dx_comm_size(comm_of(t));
  const int64_t n = examples(t), D = t->problem->dim, one = t->config->grain * D;
  const int64_t width = dx_objective_width(&t->problem->objective);
  const int64_t blocks = dx_blocks(t->state.floats);
  const int64_t notes = NOTES_MOST * (dx_comm_rank(comm_of(t)) ? 0 : t->config->batch);

  t->index = calloc((size_t)t->config->batch, sizeof *t->index);
  t->x0 = floats(n * D);
  t->t = calloc((size_t)n + 1, sizeof *t->t);
  t->worker = calloc((size_t)t->crews, sizeof *t->worker);
  t->note = calloc((size_t)(NOTES_MOST * n) + 1, sizeof *t->note);
  t->all_notes = calloc((size_t)notes + 1, sizeof *t->all_notes);
  t->told = calloc((size_t)t->config->batch, sizeof *t->told);
  t->sums = calloc((size_t)(2 * ranks + blocks), sizeof *t->sums);
  t->tree = calloc((size_t)blocks + 1, sizeof *t->tree);
  t->counts = calloc((size_t)ranks, sizeof *t->counts);
  t->offsets = calloc((size_t)ranks, sizeof *t->offsets);
  if (!t->index || !t->x0 || !t->t || !t->worker || !t->note || !t->all_notes || !t->told || !t->sums ||
      !t->tree || !t->counts || !t->offsets)
    return no_memory_of(n);
  for (int i = 0; i < t->crews; i++) {
    worker *const w = &t->worker[i];

    if (!(w->memory = floats(2 * (1 + width) * one + D))) return no_memory_of(n);
    w->eps = w->memory;
    w->xt = w->eps + one;
    w->out = w->xt + one;
    w->gout = w->out + width * one;
    w->room = w->gout + width * one;
  }
  return NULL;
}

/* As a run begins.  Collective */
static void start_weights(dx_trainer *t)
{
  const dx_problem *const p = t->problem;
  dx_state *const s = &t->state;

  if (t->of_node) { /* who touches pages first has them beside him */
    if (t->shared) dx_comm_node_memory_take(s->w + s->at, (size_t)s->n * sizeof *s->w);
    memset(s->w + s->at, 0, (size_t)s->n * sizeof *s->w);
    dx_comm_node_barrier(comm_of(t));
  }
  if (p->net && (!t->of_node || dx_comm_node_rank(comm_of(t)) == 0))
    dx_params_start(dx_net_params(p->net), p->spec->seed, s->w);
  if (t->of_node) dx_comm_node_barrier(comm_of(t));
  dx_trainer_restart_averages(t);
}

void dx_trainer_set_weights(dx_trainer *t, const float *w)
{
  if (t->of_node) dx_comm_node_barrier(comm_of(t)); /* nobody reads the old ones any more */
  if (!t->of_node || dx_comm_node_rank(comm_of(t)) == 0) memcpy(t->state.w, w, (size_t)t->state.floats * sizeof *w);
  if (t->of_node) dx_comm_node_barrier(comm_of(t));
}

void dx_trainer_rest(dx_trainer *t)
{
  if (t->problem->net) dx_net_rest(t->problem->net);
  dx_reduce_rest(t->reduce);
}

dx_error *dx_trainer_reload(dx_trainer *t)
{
  if (!t->problem->net) return NULL;
  return dx_net_ready(t->problem->net, DX_PASS_TRAIN, t->config->grain, t->crews, t->state.w);
}

static dx_error *create_local(dx_trainer *t)
{
  DX_TRY(create_state(t));
  return create_buffers(t);
}

dx_error *dx_trainer_create(dx_problem *p, dx_trainer **out)
{
  const dx_comm *const c = p->team->comm;
  const int ranks = dx_comm_size(c);
  dx_trainer *t = calloc(1, sizeof *t);
  int64_t *first = calloc((size_t)ranks + 1, sizeof *first), *rows = calloc((size_t)ranks + 1, sizeof *rows);
  dx_error *err = dx_comm_agree(c, t && first && rows ? NULL : no_memory());

  if (err) goto out;
  *t = (dx_trainer){.problem = p, .config = &p->spec->train,
                    .times = dx_times_find(p->spec->train.t_sampling), .epoch = -1, .coming = -1, .first_row = rows};
  rows = NULL;
  t->grains = t->config->batch / t->config->grain;
  for (int r = 0; r < ranks; r++) dx_team_share(p->team, t->grains, r, &first[r], &first[r + 1]);
  for (int r = 0; r <= ranks; r++) t->first_row[r] = first[r] * t->config->grain;
  t->first = first[dx_comm_rank(c)];
  t->last = first[dx_comm_rank(c) + 1];
  t->crews = dx_team_crews(p->team, t->last - t->first, p->net && dx_net_shares(p->net));
  const dx_reduce_plan plan = {.leaves = t->grains, .floats = dx_problem_floats(p),
                               .folders = t->crews, .threads = p->team->threads, .first_rank_leaf = first};
  DX_TRY_GOTO(err, out, dx_reduce_create(c, &plan, p->team->kernel.add, &t->reduce));
  share_weights(t);
  DX_TRY_GOTO(err, out, dx_comm_agree(c, create_local(t)));
  start_weights(t);
  DX_TRY_GOTO(err, out, dx_trainer_reload(t));
  DX_TRY_GOTO(err, out, dx_fetch_create(p->data, DX_TRAIN, t->config->batch, &t->fetch));
out:
  free(first);
  free(rows);
  if (err) dx_trainer_destroy(t);
  else *out = t;
  return err;
}

void dx_trainer_destroy(dx_trainer *t)
{
  if (!t) return;
  dx_fetch_destroy(t->fetch);
  dx_reduce_destroy(t->reduce);
  for (int i = 0; t->worker && i < t->crews; i++) free(t->worker[i].memory);
  free(t->worker);
  if (t->shared) dx_comm_node_memory_free(t->state.w, t->shared);
  else free(t->state.w);
  free(t->state.moment1);
  free(t->state.moment2);
  for (int i = 0; i < DX_REALS_MAX; i++) free(t->state.ema[i]);
  dx_history_destroy(&t->state.history);
  free(t->state.window.count);
  free(t->state.window.mse);
  free(t->state.window.x0_mse);
  free(t->state.window.vb);
  free(t->first_row);
  free(t->index);
  free(t->x0);
  free(t->t);
  free(t->note);
  free(t->all_notes);
  free(t->told);
  free(t->sums);
  free(t->tree);
  free(t->counts);
  free(t->offsets);
  free(t);
}

dx_state *dx_trainer_state(dx_trainer *t) { return &t->state; }

void dx_trainer_restart_averages(dx_trainer *t)
{
  const dx_state *const s = &t->state;

  for (int i = 0; i < s->averages; i++) memcpy(s->ema[i], s->w + s->at, (size_t)s->n * sizeof(float));
}

/* Sample p = step x batch + b is place p mod N of epoch p div N. */
static void start_fetch(dx_trainer *t, int64_t step)
{
  const int64_t N = t->problem->info->count[DX_TRAIN], B = t->config->batch;

  for (int64_t b = 0; b < B; b++) {
    const int64_t p = step * B + b;

    if (p / N != t->epoch) {
      t->epoch = p / N;
      dx_permutation_init(&t->order, (uint64_t)N, t->problem->spec->seed, (uint64_t)t->epoch);
    }
    t->index[b] = (int64_t)dx_permutation_at(&t->order, (uint64_t)(p % N));
  }
  dx_fetch_start(t->fetch, t->index, t->first_row);
}

/* Half of the images, chosen by their place in the batch. */
static void flip_rows(dx_trainer *t)
{
  const dx_problem *const p = t->problem;
  dx_stream s = {.seed = p->spec->seed, .purpose = DX_FOR_FLIP, .step = (uint64_t)t->state.step};

  for (int64_t i = 0; i < examples(t); i++) {
    uint32_t word[4];

    s.index = (uint64_t)(t->first * t->config->grain + i);
    dx_stream_words(&s, 0, word);
    if (word[0] >> 31) dx_dataset_flip(p->info, t->x0 + i * p->dim);
  }
}

/* The rows of this step as floats; the next step's set off. */
static dx_error *take_rows(dx_trainer *t)
{
  const void *rows;

  if (t->coming != t->state.step) { /* the first step, or the one before failed or was taken back */
    if (t->coming >= 0) dx_error_free(dx_fetch_finish(t->fetch, &rows, &t->label));
    start_fetch(t, t->state.step);
  }
  t->coming = -1;
  DX_TRY(dx_fetch_finish(t->fetch, &rows, &t->label));
  dx_dataset_normalise(t->problem->info, examples(t), rows, t->x0);
  if (t->problem->spec->data.flip) flip_rows(t);
  if (t->state.step + 1 < t->config->steps) {
    t->coming = t->state.step + 1;
    start_fetch(t, t->coming);
  }
  return NULL;
}

static dx_lot lot_of(const dx_trainer *t)
{
  const dx_problem *const p = t->problem;
  dx_lot lot = {.seed = p->spec->seed, .step = t->state.step, .batch = t->config->batch,
                .timesteps = p->process.timesteps, .history = &t->state.history};

  if (p->objective.predict->preconditioned) {
    const dx_edm_config *const c = p->spec->loss_config;

    lot.sigma_mean = c->sigma_mean;
    lot.sigma_std = c->sigma_std;
  }
  return lot;
}

/* How much noise an example gets, its weight, and its step or the nearest. */
static int32_t draw_level(const dx_trainer *t, const dx_lot *lot, int64_t place, double *weight, dx_level *level)
{
  const dx_problem *const p = t->problem;

  if (!t->times->sigma) {
    const int32_t step = t->times->draw(lot, place, weight);

    *level = dx_objective_level(&p->objective, step);
    return step;
  }
  *weight = 1;
  *level = dx_level_of_sigma(t->times->sigma(lot, place));
  return (int32_t)dx_process_nearest(&p->process, *level);
}

/* One grain: rows [i, i + g) of this rank's examples; its gradient into gw. */
static void compute_grain(dx_trainer *t, int crew, int64_t leaf, float *gw)
{
  const dx_problem *const p = t->problem;
  worker *const w = &t->worker[crew];
  const int64_t g = t->config->grain, place = leaf * g, i = (leaf - t->first) * g;
  const float *const x0 = t->x0 + i * p->dim;
  int32_t *const ts = t->t + i;
  dx_terms terms[g];
  double weight[g], share[g];
  dx_level level[g];
  float time[g];
  uint32_t key[2], ctr[4], index[g];
  const dx_lot lot = lot_of(t);

  for (int64_t k = 0; k < g; k++) {
    ts[k] = draw_level(t, &lot, place + k, &share[k], &level[k]);
    index[k] = (uint32_t)(place + k);
    weight[k] = share[k] / (double)t->config->batch;
  }
  const dx_stream s = {.seed = p->spec->seed, .purpose = DX_FOR_NOISE, .step = (uint64_t)t->state.step};
  dx_stream_start(&s, key, ctr);
  p->team->kernel.normals(key, ctr, g, index, p->dim, w->eps);
  dx_objective_noise(&p->objective, g, level, x0, w->eps, w->xt);
  for (int64_t k = 0; k < g; k++)
    time[k] = dx_objective_input(&p->objective, ts[k], level[k], w->xt + k * p->dim, w->xt + k * p->dim);
  const dx_draw draw = {.seed = p->spec->seed, .step = (uint64_t)t->state.step, .place = index};
  dx_net_forward(p->net, crew, g, &draw, time, t->label ? t->label + i : NULL, w->xt, w->out);
  dx_objective_loss(&p->objective, g, ts, level, x0, w->eps, w->out, weight, terms, w->gout, w->room);
  dx_net_backward(p->net, crew, g, &draw, w->gout, gw, NULL);
  note *const notes = t->note + t->noted * examples(t) + i;
  for (int64_t k = 0; k < g; k++) {
    t->told[place + k] = (told){.loss = terms[k].loss, .t = ts[k]};
    notes[k] = (note){.loss = share[k] * terms[k].loss, .mse = terms[k].mse, .x0_mse = terms[k].x0_mse, .vb = terms[k].vb, .t = ts[k]};
  }
}

/* A crew's part of the grains. OpenMP may give fewer threads than were asked for, and then one crew does several parts,
   each with the sums of its own. */
static void compute_part(void *trainer, int crew, int64_t part)
{
  dx_trainer *const t = trainer;
  int64_t first, last;

  dx_reduce_range(t->reduce, (int)part, &first, &last);
  for (int64_t leaf = first; leaf < last; leaf++) {
    compute_grain(t, crew, leaf, dx_reduce_leaf(t->reduce, (int)part));
    dx_reduce_done(t->reduce, (int)part, leaf);
  }
}

/* The first example of this rank whose loss is not finite, in words. */
static dx_error *check_losses(const dx_trainer *t)
{
  const note *const n = t->note + t->noted * examples(t);

  for (int64_t i = 0; i < examples(t); i++)
    if (!isfinite(n[i].loss))
      return DX_FAIL(NUMERIC, "step %lld: the loss of example %lld of the batch, on rank %d at timestep t = %lld, is %s",
                     (long long)t->state.step + 1, (long long)(t->first * t->config->grain + i),
                     dx_comm_rank(comm_of(t)), (long long)n[i].t, isnan(n[i].loss) ? "NaN" : "infinite");
  return NULL;
}

/* Squares of the gradient's blocks, failures and wishes to stop, from all ranks to all: one
   exchange. Returns the gradient's norm, summed over the blocks along the tree. */
static double share_sums(dx_trainer *t, const float *slice, bool failed, bool *any_failed, bool *any_stop)
{
  const dx_comm *const c = comm_of(t);
  const int64_t mine = dx_blocks(t->state.n);
  int64_t at = 0;
  double *out;

  for (int r = 0; r < dx_comm_size(c); r++) {
    int64_t from, n;

    dx_reduce_slice(t->reduce, r, &from, &n);
    t->offsets[r] = at;
    t->counts[r] = 2 + dx_blocks(n);
    at += t->counts[r];
  }
  out = t->sums + t->offsets[dx_comm_rank(c)];
  out[0] = failed;
  out[1] = *any_stop;
#pragma omp parallel for num_threads(t->problem->team->threads) schedule(static) if (mine >= DX_BLOCKS_WORTH_THREADS)
  for (int64_t b = 0; b < mine; b++) {
    const int64_t left = t->state.n - b * DX_BLOCK;

    out[2 + b] = t->problem->team->kernel.sum_squares(left < DX_BLOCK ? left : DX_BLOCK, slice + b * DX_BLOCK);
  }
  dx_comm_all_gather(c, out, 2 + mine, t->sums, t->counts, t->offsets, sizeof *t->sums);
  *any_failed = *any_stop = false;
  at = 0;
  for (int r = 0; r < dx_comm_size(c); r++) {
    const double *const theirs = t->sums + t->offsets[r];

    *any_failed = *any_failed || theirs[0] != 0;
    *any_stop = *any_stop || theirs[1] != 0;
    for (int64_t b = 0; b < t->counts[r] - 2; b++) t->tree[at++] = theirs[2 + b];
  }
  return sqrt(dx_tree_sum(at, t->tree));
}

/* Adam on this rank's slice, then everybody's slices to everybody. */
static void update(dx_trainer *t, const float *slice, const dx_adam *adam)
{
  dx_state *const s = &t->state;
  float decay[DX_REALS_MAX]; /* but of the first average, which is in adam */
  const int64_t blocks = dx_blocks(s->n);

  for (int i = 1; i < s->averages; i++) decay[i] = (float)dx_average_decay(t->config, i + 1, s->step);
#pragma omp parallel for num_threads(t->problem->team->threads) schedule(static) if (blocks >= DX_BLOCKS_WORTH_THREADS)
  for (int64_t b = 0; b < blocks; b++) {
    const dx_kernels *const k = &t->problem->team->kernel;
    const int64_t at = b * DX_BLOCK, left = s->n - at, n = left < DX_BLOCK ? left : DX_BLOCK;
    float *const w = s->w + s->at + at;

    k->adam(n, adam, slice + at, w, s->moment1 + at, s->moment2 + at, s->averages ? s->ema[0] + at : NULL);
    for (int i = 1; i < s->averages; i++) k->mix(n, decay[i], s->ema[i] + at, 1 - decay[i], w, s->ema[i] + at);
  }
  dx_reduce_spread(t->reduce, s->w, t->of_node);
  dx_net_load(t->problem->net, s->w);
}

/* The losses of the step, of all ranks, into everybody's history, in order of place.  Collective */
static void learn_chances(dx_trainer *t)
{
  const dx_comm *const c = comm_of(t);

  if (!t->times->learns) return;
  for (int r = 0; r < dx_comm_size(c); r++) {
    t->offsets[r] = t->first_row[r];
    t->counts[r] = t->first_row[r + 1] - t->first_row[r];
  }
  dx_comm_all_gather(c, t->told + t->first_row[dx_comm_rank(c)], examples(t), t->told, t->counts, t->offsets, sizeof *t->told);
  for (int64_t b = 0; b < t->config->batch; b++) dx_history_add(&t->state.history, (int64_t)t->told[b].t, t->told[b].loss);
  dx_history_weigh(&t->state.history);
}

dx_error *dx_trainer_step(dx_trainer *t, bool stop, dx_step_info *info)
{
  const double begin = dx_clock();
  const float *slice;
  int64_t at, n;
  bool failed, any_stop = stop;
  dx_error *mine;

  dx_watch_say("exchange of samples");
  DX_TRY(take_rows(t));
  dx_reduce_start(t->reduce);
  const double taken = dx_clock();
  dx_watch_say("gradients");
  dx_team_each(t->problem->team, t->crews, t->crews, compute_part, t);
  mine = check_losses(t);
  const double computed = dx_clock();
  dx_watch_say("sum of gradients");
  dx_reduce_finish(t->reduce, &slice, &at, &n);
  const double norm = share_sums(t, slice, mine != NULL, &failed, &any_stop);
  if (failed) return dx_comm_agree(comm_of(t), mine);
  if (!isfinite(norm))
    return DX_FAIL(NUMERIC, "step %lld: the gradient's norm is %s", (long long)t->state.step + 1,
                   isnan(norm) ? "NaN" : "infinite");
  const dx_adam adam = dx_adam_of(t->config, t->state.step, dx_clip_factor(t->config->clip, norm));
  dx_watch_say("update of weights");
  update(t, slice, &adam);
  learn_chances(t);
  *info = (dx_step_info){.grad_norm = norm, .rate = dx_rate(t->config, t->state.step), .stop = any_stop,
                         .compute = computed - taken, .exchange = dx_clock() - computed + taken - begin};
  t->state.step++;
  if (++t->noted == NOTES_MOST) dx_trainer_collect(t);
  return NULL;
}

/* Add the notes of all ranks to the window: step by step, in order of place in the batch. */
static void add_notes(dx_trainer *t)
{
  dx_window *const w = &t->state.window;

  for (int64_t step = 0; step < t->noted; step++)
    for (int r = 0; r < dx_comm_size(comm_of(t)); r++) {
      const int64_t n = t->first_row[r + 1] - t->first_row[r];
      const note *const from = t->all_notes + t->offsets[r] + step * n;

      for (int64_t i = 0; i < n; i++) {
        w->loss += from[i].loss;
        w->examples++;
        w->count[from[i].t - 1]++;
        w->mse[from[i].t - 1] += from[i].mse;
        w->x0_mse[from[i].t - 1] += from[i].x0_mse;
        w->vb[from[i].t - 1] += from[i].vb;
      }
    }
}

void dx_trainer_collect(dx_trainer *t)
{
  const dx_comm *const c = comm_of(t);

  if (t->noted == 0) return; /* equal on all ranks */
  for (int r = 0; r < dx_comm_size(c); r++) {
    t->offsets[r] = t->noted * t->first_row[r];
    t->counts[r] = t->noted * (t->first_row[r + 1] - t->first_row[r]);
  }
  dx_comm_gather(c, t->note, t->noted * examples(t), t->all_notes, t->counts, t->offsets, sizeof(note));
  if (dx_comm_rank(c) == 0) add_notes(t);
  t->noted = 0;
}

void dx_trainer_weights(dx_trainer *t, int place, float *out)
{
  const dx_state *const s = &t->state;

  if (place == 0) {
    memcpy(out, s->w, (size_t)s->floats * sizeof *out);
    return;
  }
  memcpy(out + s->at, s->ema[place - 1], (size_t)s->n * sizeof *out);
  dx_reduce_spread(t->reduce, out, false);
}

/* Floats of gradient sums: of the rank with most, where none is in reach of another; of a node with all ranks. */
typedef struct { int64_t rank, node; int pieces; } sums_plan;

static sums_plan sums_plan_of(const dx_problem *p, int64_t grains, int ranks, int64_t slice)
{
  const int64_t floats = dx_problem_floats(p), row = dx_reduce_row(floats);
  sums_plan plan = {0};
  int64_t all_pieces = 0;
  dx_node nodes[DX_TREE_PIECES];

  for (int r = 0; r < ranks; r++) {
    const int64_t first = dx_share_of_group(grains, ranks, r), n = dx_share_of_group(grains, ranks, r + 1) - first;
    const int crews = dx_team_crews(p->team, n, p->net && dx_net_shares(p->net));
    const int pieces = dx_tree_cover(grains, first, first + n, nodes);
    int64_t vectors = 0;

    for (int c = 0; c < crews; c++)
      vectors += dx_reduce_buffers(grains, first + dx_share_first(n, crews, c), first + dx_share_first(n, crews, c + 1));
    if (r == 0 || vectors * row - pieces * slice > plan.rank) plan.rank = vectors * row - pieces * slice;
    if (pieces > plan.pieces) plan.pieces = pieces;
    plan.node += vectors * row;
    all_pieces += pieces;
  }
  plan.rank += all_pieces * slice; /* it receives those of the others */
  if (!dx_reduce_shares(floats)) plan.node += (ranks - 1) * all_pieces * slice;
  return plan;
}

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

dx_trainer_plan dx_trainer_plan_of(const dx_problem *p, int ranks)
{
  const dx_train_config *const c = &p->spec->train;
  const int64_t grains = c->batch / c->grain, one = c->grain * p->dim, mine = dx_share_of_group(grains, ranks, 1);
  const int64_t workers = (int64_t)ranks * p->team->threads;
  const int crews = dx_team_crews(p->team, mine, p->net && dx_net_shares(p->net));
  const int64_t floats = dx_problem_floats(p), blocks = (dx_blocks(floats) + ranks - 1) / ranks * DX_BLOCK;
  const int64_t slice = blocks < floats ? blocks : floats, examples = mine * c->grain;
  const sums_plan sums = sums_plan_of(p, grains, ranks, slice);
  dx_trainer_plan plan = {.grains = grains, .crews = crews, .most_grains = (grains + workers - 1) / workers,
                          .least_grains = grains / workers};

  plan.state = 4 * (2 * floats + (2 + dx_averages(c)) * slice);
  plan.gradients = 4 * sums.rank;
  plan.pieces = sums.pieces;
  plan.packed = p->net ? 4 * dx_net_packed(p->net) : 0;
  plan.workspace = p->net ? (int64_t)dx_net_bytes(p->net, DX_PASS_TRAIN, c->grain, crews) : 0;
  plan.examples = dx_dataset_bytes_held(p->data) * dx_comm_size(p->team->comm) / ranks +
                  4 * (examples * p->dim + (2 * (1 + dx_objective_width(&p->objective)) * one + p->dim) * crews) +
                  (int64_t)sizeof(note) * NOTES_MOST * (examples + c->batch) +
                  (dx_times_find(c->t_sampling)->learns ? 8 * (DX_HISTORY + 3) * p->process.timesteps : 0);
  plan.checkpoint = 4 * (1 + (ranks > 1)) * floats;
  const int64_t always = plan.state + plan.examples, passes = plan.packed + plan.workspace * crews;
  const int64_t once = p->net && dx_net_packs_together(p->net) ? plan.packed * (ranks - 1) : 0;
  plan.bytes = always + most(plan.gradients + passes, plan.checkpoint);
  plan.node = always * ranks - (dx_reduce_shares(floats) ? 4 * floats * (ranks - 1) : 0) +
              most(4 * sums.node + passes * ranks - once, plan.checkpoint * ranks);
  return plan;
}
