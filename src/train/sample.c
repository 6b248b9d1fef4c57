/* SPDX-License-Identifier: Apache-2.0 */
/* train/sample.c - see sample.h. A grain of samples goes from noise to data on one thread, or on a crew of them. */
#include "train/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/math.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/version.h"
#include "io/h5.h"
#include "io/picture.h"
#include "train/estimate.h"
#include "train/optimizer.h"

/* "|ancestral|ddim": the list itself. */
static const char sampler_names[] =
#define DX_SAMPLER(name) "|" #name
#include "diffusion/samplers.def"
#undef DX_SAMPLER
  ;

const dx_option dx_sample_options[] = {
  DX_OPTION(dx_sample_config, every, "end", -1, 1e12, "steps between drawings of samples; end (0): after the last step alone, never (-1)",
            .words = "end=0|never=-1", .role = DX_FREE),
  DX_OPTION(dx_sample_config, count, "1000", 1, 1e9, "samples drawn", .role = DX_FREE),
  DX_OPTION(dx_sample_config, grain, "64", 1, 4096, "samples that one thread, or one crew (run.crew), draws at a time",
            .role = DX_FREE),
  DX_OPTION(dx_sample_config, sampler, "ancestral", 0, 0, "how samples are drawn (diffx list)", .choices = sampler_names + 1,
            .elsewhere = "ddpm=ancestral|euler=ddim|edm=heun", .role = DX_FREE),
  DX_OPTION(dx_sample_config, weights, "ema", 0, 0, "which weights, as evaluate.weights", .role = DX_FREE),
  DX_OPTION(dx_sample_config, trajectory, "0", 0, 1000, "snapshots of the way from noise to data that are kept",
            .role = DX_FREE),
  DX_OPTION_END
};

enum { SHOWN = 256, GAP = 2, SIDE = 64 }; /* samples of a picture, pixels between them, pixels of one at least */
enum { ROUNDS = 200 };         /* times that the ranks meet on the way, at most */

/* One drawing, as all threads of this rank see it. */
typedef struct {
  dx_problem *problem;
  dx_objective objective;
  dx_predictor predictor;
  int64_t count, grain, grains, first, last; /* grains of the job; of this rank */
  dx_visit *plan;
  int64_t steps, from, to;                   /* visits of the plan; those of this round */
  int64_t snapshots, *shot;                  /* places in the plan before which x_t is kept */
  float *x;                                  /* (this rank's samples, D) */
  float *memory;                             /* the same of a sampler that remembers, else NULL */
  float *shots;                              /* (snapshots, this rank's samples, D) */
  float **buffer;                            /* (threads; the crews use the first) of x0hat (grain, width D), z, log variances */
  double begin;
} drawing;

/* Normals of grain q with that number. */
static void draw_normals(const drawing *d, int64_t q, int64_t number, float *z)
{
  const dx_stream s = {.seed = d->problem->spec->seed, .purpose = DX_FOR_SAMPLE, .step = (uint64_t)number};
  uint32_t key[2], ctr[4], index[d->grain];

  for (int64_t i = 0; i < d->grain; i++) index[i] = (uint32_t)(q * d->grain + i);
  dx_stream_start(&s, key, ctr);
  d->problem->team->kernel.normals(key, ctr, d->grain, index, d->problem->dim, z);
}

static void keep(const drawing *d, int64_t shot, int64_t local, const float *x)
{
  const int64_t D = d->problem->dim, mine = (d->last - d->first) * d->grain;

  memcpy(d->shots + (shot * mine + local) * D, x, (size_t)(d->grain * D) * sizeof *x);
}

/* Normals for a sampler that multiplies them with the process's deviation: with the learned one instead. */
static void widen(int64_t n, const float *log_var, double fixed, float *z)
{
  for (int64_t j = 0; j < n; j++) z[j] = (float)(z[j] * dx_exp(0.5 * (log_var[j] - fixed)));
}

/* Samples take the classes in turn. */
static int32_t class_of(const drawing *d, int64_t i)
{
  return d->problem->info->classes ? (int32_t)(i % d->problem->info->classes) : 0;
}

/* Grain number `item` of this rank on its way: places [from, to) of the plan. */
static void advance(void *drawing_, int crew, int64_t item)
{
  drawing *const d = drawing_;
  const int64_t g = d->grain, D = d->problem->dim, local = item * g, q = d->first + item, from = d->from, to = d->to;
  float *const x = d->x + local * D, *const x0hat = d->buffer[crew];
  float *const z = x0hat + dx_objective_width(&d->objective) * g * D, *const log_var = z + g * D;
  const bool learned = d->objective.reverse->line && d->problem->spec->sampler->uses_variance;
  const int64_t classes = d->problem->info->classes;
  int32_t t[g], label[g];
  dx_level level[g];

  if (from == 0) draw_normals(d, q, d->problem->process.timesteps + 1, x);
  for (int64_t i = 0; i < g; i++) label[i] = class_of(d, q * g + i);
  for (int64_t k = from; k < to; k++) {
    const dx_visit *const v = &d->plan[k];

    for (int64_t s = 0; s < d->snapshots; s++)
      if (d->shot[s] == k) keep(d, s, local, x);
    for (int64_t i = 0; i < g; i++) {
      t[i] = (int32_t)v->t;
      level[i] = v->level;
    }
    d->predictor.predict(d->predictor.ctx, crew, g, t, level, classes ? label : NULL, x, x0hat);
    if (learned) dx_objective_log_var(&d->objective, g, t, x0hat, log_var);
    dx_objective_x0(&d->objective, g, t, level, x, x0hat, x0hat);
    if (v->draw) draw_normals(d, q, v->draw, z);
    if (learned) widen(g * D, log_var, d->problem->process.log_var[v->t - 1], z);
    d->problem->spec->sampler->step(d->problem->spec->sampler_config, &d->problem->process, &d->problem->team->kernel, v, g * D,
                                    x0hat, z, d->memory ? d->memory + local * D : NULL, x);
  }
  for (int64_t s = 0; s < d->snapshots && to == d->steps; s++)
    if (d->shot[s] == to) keep(d, s, local, x);
  dx_watch_say("sampling"); /* a round of many samples may take longer than run.stall_limit */
}

static void show_progress(const drawing *d, int64_t done)
{
  const double part = (double)done / (double)d->steps;
  char left[32];

  dx_log_progress(d->problem->team->log, "sampling %3.0f%%  %s left", 100 * part,
                  dx_clock_words((dx_clock() - d->begin) * (1 / part - 1), left));
}

/* All grains by rounds of steps, so that ranks that are asked to stop do so together.  Collective */
static dx_error *draw_all(drawing *d, bool (*stopping)(void *ctx), void *ctx)
{
  const dx_team *const team = d->problem->team;
  const int64_t round = (d->steps + ROUNDS - 1) / ROUNDS;

  for (int64_t from = 0; from < d->steps; from += round) {
    const int64_t to = from + round < d->steps ? from + round : d->steps;

    dx_watch_say("sampling");
    if (dx_comm_max_i64(team->comm, stopping && stopping(ctx)))
      return DX_FAIL(STOPPED, "stopped while samples were drawn");
    d->from = from;
    d->to = to;
    dx_team_each(team, d->predictor.crews, d->last - d->first, advance, d);
    show_progress(d, to);
  }
  return NULL;
}

/* Steps that snapshot i of K has before it: all at the first, pure noise; none at the last, the sample. By
   squares, since most of what can be seen happens late; and no two alike where there are steps enough. */
static int64_t steps_left(int64_t steps, int64_t K, int64_t i)
{
  const int64_t later = K - 1 - i;
  const double part = K > 1 ? (double)later / (double)(K - 1) : 0;
  const int64_t square = (int64_t)(part * part * (double)steps + 0.5), left = square > later ? square : later;

  return left < steps ? left : steps;
}

static dx_error *create(drawing *d, dx_problem *p)
{
  const dx_sample_config *const c = &p->spec->sample;
  const dx_sampler *const sampler = p->spec->sampler;
  const int64_t D = p->dim, K = c->trajectory;
  const size_t buffer = (size_t)((2 + dx_objective_width(&p->objective)) * c->grain * D) * sizeof(float);

  *d = (drawing){.problem = p, .objective = dx_problem_clipped(p), .count = c->count, .grain = c->grain,
                 .grains = (c->count + c->grain - 1) / c->grain, .snapshots = K, .begin = dx_clock(),
                 .steps = sampler->plan(p->spec->sampler_config, &p->process, NULL)};
  dx_team_share(p->team, d->grains, dx_comm_rank(p->team->comm), &d->first, &d->last);
  const int64_t mine = (d->last - d->first) * c->grain * D;
  d->plan = calloc((size_t)d->steps, sizeof *d->plan);
  d->shot = calloc((size_t)K + 1, sizeof *d->shot);
  d->x = calloc((size_t)mine + 1, sizeof *d->x);
  d->shots = calloc((size_t)(K * mine) + 1, sizeof *d->shots);
  d->buffer = calloc((size_t)p->team->threads, sizeof *d->buffer);
  if (sampler->remembers) d->memory = calloc((size_t)mine + 1, sizeof *d->memory);
  if (!d->plan || !d->shot || !d->x || (sampler->remembers && !d->memory) || !d->shots || !d->buffer)
    return DX_FAIL(INTERNAL, "no memory for %lld samples", (long long)c->count);
  for (int i = 0; i < p->team->threads; i++)
    if (!(d->buffer[i] = dx_memory(buffer)))
      return DX_FAIL(INTERNAL, "no memory for %lld samples", (long long)c->count);
  sampler->plan(p->spec->sampler_config, &p->process, d->plan);
  for (int64_t i = 0; i < K; i++) d->shot[i] = d->steps - steps_left(d->steps, K, i);
  return NULL;
}

static void destroy(drawing *d)
{
  for (int i = 0; d->buffer && i < d->problem->team->threads; i++) free(d->buffer[i]);
  free(d->buffer);
  free(d->plan);
  free(d->shot);
  free(d->x);
  free(d->memory);
  free(d->shots);
}

/* Samples of all ranks to rank 0, in order; what stands past count is cut.  Collective */
static dx_error *gather(const drawing *d, const float *mine, float **out)
{
  const dx_team *const team = d->problem->team;
  const int ranks = dx_comm_size(team->comm), me = dx_comm_rank(team->comm);
  const int64_t one = d->grain * d->problem->dim;
  int64_t *const counts = calloc(2 * (size_t)ranks, sizeof *counts);
  dx_error *err = NULL;

  *out = calloc(me ? 1 : (size_t)(d->grains * one), sizeof **out);
  if (!counts || !*out) err = DX_FAIL(INTERNAL, "no memory to gather samples");
  err = dx_comm_agree(team->comm, err);
  if (!err) {
    for (int r = 0; r < ranks; r++) {
      int64_t a, b;

      dx_team_share(team, d->grains, r, &a, &b);
      counts[r] = (b - a) * one;
      counts[ranks + r] = a * one;
    }
    dx_comm_gather(team->comm, mine, (d->last - d->first) * one, *out, counts, counts + ranks, sizeof **out);
    if (me == 0) dx_dataset_restore(d->problem->info, d->count, *out);
  }
  free(counts);
  return err;
}

/* Rows of the test split (or, without one, the training split) beside the samples.  Collective */
static dx_error *fetch_reference(const drawing *d, float **out, int64_t *n)
{
  const dx_problem *const p = d->problem;
  const dx_split split = p->info->count[DX_TEST] ? DX_TEST : DX_TRAIN;
  const int ranks = dx_comm_size(p->team->comm);
  const int64_t there = p->info->count[split], rows = d->count < there ? d->count : there;
  int64_t *const index = calloc((size_t)rows, sizeof *index), *const first = calloc((size_t)ranks + 1, sizeof *first);
  dx_fetch *fetch = NULL;
  const void *raw;
  const int32_t *labels;
  dx_error *err = NULL;

  *out = calloc((size_t)(rows * p->dim), sizeof **out);
  *n = rows;
  if (!index || !first || !*out) err = DX_FAIL(INTERNAL, "no memory for reference samples");
  DX_TRY_GOTO(err, out, dx_comm_agree(p->team->comm, err));
  DX_TRY_GOTO(err, out, dx_fetch_create(p->data, split, rows, &fetch));
  for (int64_t i = 0; i < rows; i++) index[i] = i;
  for (int r = 1; r <= ranks; r++) first[r] = rows; /* all of them to rank 0 */
  dx_fetch_start(fetch, index, first);
  DX_TRY_GOTO(err, out, dx_fetch_finish(fetch, &raw, &labels));
  if (dx_comm_rank(p->team->comm) == 0) {
    dx_dataset_normalise(p->info, rows, raw, *out);
    dx_dataset_restore(p->info, rows, *out);
  }
out:
  dx_fetch_destroy(fetch);
  free(index);
  free(first);
  return err;
}

static dx_error *write_block(dx_h5 *f, const char *path, const dx_problem *p, int64_t shots, int64_t n,
                             const float *x, const char *what)
{
  const dx_shape s = p->info->sample;
  dx_h5_info info = {.type = DX_H5_F32, .rank = 4, .dim = {n, s.h, s.w, s.c}};

  if (shots) info = (dx_h5_info){.type = DX_H5_F32, .rank = 5, .dim = {shots, n, s.h, s.w, s.c}};
  return dx_h5_write(f, path, &info, x, "data unit", what, NULL);
}

static dx_error *write_trajectory(dx_h5 *f, const drawing *d, const float *shots)
{
  const dx_h5_info info = {.type = DX_H5_I64, .rank = 1, .dim = {d->snapshots}};
  dx_error *err;
  int64_t *const t = calloc((size_t)d->snapshots, sizeof *t);

  if (!t) return DX_FAIL(INTERNAL, "no memory for a trajectory");
  for (int64_t i = 0; i < d->snapshots; i++) t[i] = d->shot[i] < d->steps ? d->plan[d->shot[i]].t : 0;
  err = write_block(f, "/trajectory", d->problem, d->snapshots, d->count, shots,
                    "the same samples on their way from noise, x_t");
  if (!err) err = dx_h5_write(f, "/trajectory_t", &info, t, "1", "t of each snapshot, or the nearest; 0 is the sample", NULL);
  free(t);
  return err;
}

/* What the numbers of x are, for those who turn them into something else. */
static dx_error *write_units(dx_h5 *f, const dx_dataset_info *i)
{
  DX_TRY(dx_h5_set_real(f, "/", "shift", i->shift));
  DX_TRY(dx_h5_set_real(f, "/", "scale", i->scale));
  if (!i->has_range) return NULL;
  DX_TRY(dx_h5_set_real(f, "/", "range_lo", i->lo));
  return dx_h5_set_real(f, "/", "range_hi", i->hi);
}

/* Which class each sample is of, where the network was told it. */
static dx_error *write_labels(dx_h5 *f, const drawing *d)
{
  const dx_spec *const s = d->problem->spec;
  const dx_h5_info info = {.type = DX_H5_I32, .rank = 1, .dim = {d->count}};
  int32_t *label;
  dx_error *err;

  if (!s->model || dx_model_classes(s->model, s->model_config) == 0) return NULL;
  if (!(label = calloc((size_t)d->count, sizeof *label))) return DX_FAIL(INTERNAL, "no memory for labels");
  for (int64_t i = 0; i < d->count; i++) label[i] = class_of(d, i);
  err = dx_h5_write(f, "/label", &info, label, "1", "class that each sample was drawn for", NULL);
  free(label);
  return err;
}

/* What it takes to draw the same again, and to know the weights again. */
static dx_error *write_provenance(dx_h5 *f, const dx_problem *p, const float *w)
{
  DX_TRY(dx_h5_set_hash(f, "/", "weights_hash", dx_problem_weights_hash(p, w)));
  DX_TRY(dx_h5_set_hash(f, "/", "dataset_hash", p->info->hash));
  DX_TRY(dx_h5_set_text(f, "/", "version", dx_version()));
  DX_TRY(dx_h5_set_text(f, "/", "commit", dx_commit()));
  DX_TRY(dx_h5_set_text(f, "/", "kernels", p->team->kernels));
  return dx_h5_set_text(f, "/", "experiment", p->spec->settings);
}

/* Rank 0.  Local */
static dx_error *write_file(const drawing *d, const char *path, int64_t step, const float *w, int ema, const float *x,
                            const float *shots, const float *reference, int64_t references)
{
  const dx_problem *const p = d->problem;
  char weights[DX_WEIGHTS_NAME];
  dx_error *err;
  dx_h5 *f;

  DX_TRY(dx_h5_create(&f));
  DX_TRY_GOTO(err, out, dx_h5_set_int(f, "/", "format", 1));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "program", "diffx"));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "content", "samples"));
  DX_TRY_GOTO(err, out, dx_h5_set_int(f, "/", "step", step));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "sampler", p->spec->sampler->name));
  DX_TRY_GOTO(err, out, dx_h5_set_int(f, "/", "ema", ema));
  if (dx_averages(&p->spec->train) > 1)
    DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "weights", dx_weights_name(&p->spec->train, ema, weights)));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "modality", p->info->modality));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/", "name", p->spec->name));
  DX_TRY_GOTO(err, out, write_provenance(f, p, w));
  DX_TRY_GOTO(err, out, write_units(f, p->info));
  DX_TRY_GOTO(err, out, write_block(f, "/x", p, 0, d->count, x, "samples"));
  DX_TRY_GOTO(err, out, write_labels(f, d));
  DX_TRY_GOTO(err, out, write_block(f, "/reference", p, 0, references, reference, "rows of the data, for comparison"));
  if (d->snapshots) DX_TRY_GOTO(err, out, write_trajectory(f, d, shots));
  err = dx_h5_save(f, path);
out:
  dx_h5_close(f);
  return err;
}

/* How many pixels wide and high one of a small image is drawn: so that the longer side has at least SIDE. */
static int64_t enlargement(dx_shape s)
{
  const int64_t longer = s.h > s.w ? s.h : s.w;

  return longer < SIDE ? (SIDE + longer - 1) / longer : 1;
}

/* A line of pixels, each k times, on k lines of a picture. */
static void draw_line(const dx_dataset_info *info, int64_t k, const float *x, uint8_t *to, int64_t line)
{
  const int64_t w = info->sample.w, c = info->sample.c;

  dx_dataset_shade(info, w * c, x, to);
  for (int64_t j = w * k; j-- > 0;) memmove(to + j * c, to + j / k * c, (size_t)c); /* from behind, in place */
  for (int64_t i = 1; i < k; i++) memcpy(to + i * line, to, (size_t)(w * k * c));
}

/* The first n samples in rows, white between them. */
static void draw_grid(const dx_dataset_info *info, int64_t n, int64_t columns, const float *x, dx_picture *p)
{
  const dx_shape s = info->sample;
  const int64_t k = enlargement(s), line = p->w * p->c;

  memset(p->pixels, 255, (size_t)(p->h * line));
  for (int64_t q = 0; q < n; q++)
    for (int64_t i = 0; i < s.h; i++) {
      const int64_t top = GAP + q / columns * (k * s.h + GAP) + k * i, left = GAP + q % columns * (k * s.w + GAP);

      draw_line(info, k, x + (q * s.h + i) * s.w * s.c, p->pixels + top * line + left * p->c, line);
    }
}

/* Images as a picture beside the file: its name with .png in place of .h5. Rank 0.  Local */
static dx_error *write_grid(const drawing *d, const char *path, const float *x)
{
  const dx_dataset_info *const info = d->problem->info;
  const dx_shape s = info->sample;
  const int64_t n = d->count < SHOWN ? d->count : SHOWN, k = enlargement(s);
  const size_t stem = strlen(path) > 3 && !strcmp(path + strlen(path) - 3, ".h5") ? strlen(path) - 3 : strlen(path);
  int64_t columns = 1;
  char name[4096];
  dx_picture p;
  dx_error *err;

  if (strcmp(info->modality, "image") || (s.c != 1 && s.c != 3)) return NULL;
  if (!dx_picture_can_save()) {
    dx_log_say(d->problem->team->log, DX_LOG_INFO, "no picture of the samples: this diffx was built without libpng");
    return NULL;
  }
  while (columns * columns < n) columns++;
  p = (dx_picture){.h = GAP + (n + columns - 1) / columns * (k * s.h + GAP), .w = GAP + columns * (k * s.w + GAP), .c = s.c};
  p.pixels = malloc((size_t)(p.h * p.w * p.c));
  if (!p.pixels) return DX_FAIL(INTERNAL, "no memory for a picture of samples");
  draw_grid(info, n, columns, x, &p);
  snprintf(name, sizeof name, "%.*s.png", (int)stem, path);
  err = dx_picture_save(&p, name);
  dx_picture_free(&p);
  return err;
}

/* The snapshots to rank 0: one gathering each, packed without the padding.  Collective */
static dx_error *gather_shots(const drawing *d, float **out)
{
  const int64_t one = d->count * d->problem->dim, mine = (d->last - d->first) * d->grain * d->problem->dim;
  const bool lead = dx_comm_rank(d->problem->team->comm) == 0;
  dx_error *err = NULL;

  *out = calloc(lead ? (size_t)(d->snapshots * one) + 1 : 1, sizeof **out);
  if (!*out) err = DX_FAIL(INTERNAL, "no memory for a trajectory");
  DX_TRY(dx_comm_agree(d->problem->team->comm, err));
  for (int64_t i = 0; i < d->snapshots; i++) {
    float *all;

    err = gather(d, d->shots + i * mine, &all);
    if (!err && lead) memcpy(*out + i * one, all, (size_t)one * sizeof *all);
    free(all);
    if (err) return err;
  }
  return NULL;
}

dx_error *dx_sample(dx_problem *p, const float *w, int64_t step, int ema, const char *path,
                    bool (*stopping)(void *ctx), void *ctx, double *seconds)
{
  const dx_comm *const c = p->team->comm;
  float *x = NULL, *shots = NULL, *reference = NULL;
  int64_t references;
  dx_error *err;
  drawing d;

  if (p->spec->sampler->uses_variance) DX_TRY(dx_estimate_variance(p, w, DX_USER_SAMPLER, &(dx_patience){.stopping = stopping, .ctx = ctx}));
  DX_TRY_GOTO(err, out, dx_comm_agree(c, create(&d, p)));
  DX_TRY_GOTO(err, out, dx_problem_predictor(p, w, d.grain, d.last - d.first, &d.predictor));
  DX_TRY_GOTO(err, out, draw_all(&d, stopping, ctx));
  DX_TRY_GOTO(err, out, gather(&d, d.x, &x));
  *seconds = dx_clock() - d.begin;
  DX_TRY_GOTO(err, out, gather_shots(&d, &shots));
  DX_TRY_GOTO(err, out, fetch_reference(&d, &reference, &references));
  err = dx_comm_rank(c) ? NULL : write_file(&d, path, step, w, ema, x, shots, reference, references);
  if (!err && dx_comm_rank(c) == 0) err = write_grid(&d, path, x);
  err = dx_comm_agree(c, err);
out:
  free(x);
  free(shots);
  free(reference);
  destroy(&d);
  return err;
}
