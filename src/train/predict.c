/* SPDX-License-Identifier: Apache-2.0 */
/* train/predict.c - see predict.h. Each rank reads the rows of its own grains; rank 0 gathers and writes. */
#include "train/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/h5.h"

enum { FORMAT = 1 };

/* One prediction, as all threads of this rank see it. */
typedef struct {
  const dx_predict_job *job;
  dx_net *net;
  dx_h5_info x;                /* of the file */
  int64_t rows, in, out;       /* N; numbers of an input and of a prediction */
  int64_t grain, grains, first, last; /* rows of a grain; grains of the job; of this rank */
  int64_t row, mine;           /* this rank's rows */
  int64_t t_first;             /* how the file counts t: from 1 or from 0 */
  bool labels;
  float *input, *output;       /* (whole grains of this rank, in), (.., out) */
  double *t;                   /* (whole grains of this rank) as the file has it */
  float *time;                 /* the network's t - 1 */
  int32_t *label;
  int64_t done;
  double begin;
} work;

/* --- looking at the file ---------------------------------------------------- */

static dx_error *look_at_x(work *k, dx_h5 *f)
{
  const dx_shape s = k->job->model.sample;
  const char *const in = k->job->in;

  DX_TRY(dx_h5_look(f, "/x", &k->x));
  if (k->x.type != DX_H5_F32) return DX_FAIL(DATA, "%s: /x does not hold 32-bit floats, which alone are taken", in);
  const int rank = k->x.rank;
  const int64_t *const d = k->x.dim;
  const dx_shape found = {.b = 1, .h = rank == 4 ? d[1] : 1, .w = rank == 4 ? d[2] : rank == 3 ? d[1] : 1,
                          .c = rank >= 2 ? d[rank - 1] : 0};
  if (rank < 2 || rank > 4)
    return DX_FAIL(DATA, "%s: /x has %d dimension%s; images are [N, H, W, C], points [N, C]", in, rank, rank == 1 ? "" : "s");
  if (found.h != s.h || found.w != s.w || found.c != s.c)
    return DX_FAIL(DATA, "%s: /x has rows of %lld x %lld x %lld; the model takes %lld x %lld x %lld", in, (long long)found.h,
                   (long long)found.w, (long long)found.c, (long long)s.h, (long long)s.w, (long long)s.c);
  if (d[0] == 0) return DX_FAIL(DATA, "%s: /x has no rows", in);
  k->rows = d[0];
  return NULL;
}

/* One number per row of x? */
static dx_error *look_at_column(const work *k, dx_h5 *f, const char *path, bool real)
{
  const char *const in = k->job->in;
  dx_h5_info d;

  DX_TRY(dx_h5_look(f, path, &d));
  if (d.type == DX_H5_TEXT || (!real && (d.type == DX_H5_F32 || d.type == DX_H5_F64)) || d.rank != 1)
    return DX_FAIL(DATA, "%s: %s must be one %snumber per row", in, path, real ? "" : "whole ");
  if (d.dim[0] != k->rows)
    return DX_FAIL(DATA, "%s: %s has %lld rows, /x has %lld", in, path, (long long)d.dim[0], (long long)k->rows);
  return NULL;
}

static dx_error *look(work *k, dx_h5 *f)
{
  const bool given = dx_h5_has(f, "/label");
  const dx_predict_job *const j = k->job;

  DX_TRY(look_at_x(k, f));
  DX_TRY(look_at_column(k, f, "/t", true));
  k->t_first = 1;
  if (dx_h5_has_attr(f, "/t", "first")) DX_TRY(dx_h5_get_int(f, "/t", "first", &k->t_first));
  if (k->t_first != 0 && k->t_first != 1)
    return DX_FAIL(DATA, "%s: the attribute first of /t is %lld; allowed: 1 (t = 1..T) or 0 (t = 0..T-1)", j->in, (long long)k->t_first);
  k->labels = dx_model_classes(j->spec->model, j->spec->model_config) > 0;
  if (k->labels && !given)
    return DX_FAIL(DATA, "%s has no /label, but the model has %lld classes", j->in, (long long)j->model.classes);
  if (k->labels) return look_at_column(k, f, "/label", false);
  if (given && dx_comm_rank(j->team->comm) == 0)
    dx_log_say(j->team->log, DX_LOG_WARN, "%s: /label is not read, as the model has no classes", j->in);
  return NULL;
}

/* --- reading ---------------------------------------------------------------- */

static dx_error *take_memory(work *k)
{
  const dx_team *const team = k->job->team;

  dx_team_share(team, k->grains, dx_comm_rank(team->comm), &k->first, &k->last);
  const size_t room = (size_t)((k->last - k->first) * k->grain);
  k->row = k->first * k->grain;
  k->mine = (k->last * k->grain < k->rows ? k->last * k->grain : k->rows) - k->row;
  if (k->mine < 0) k->mine = 0;
  k->input = calloc(room * (size_t)k->in + 1, sizeof *k->input);
  k->output = calloc(room * (size_t)k->out + 1, sizeof *k->output);
  k->t = calloc(room + 1, sizeof *k->t);
  k->time = calloc(room + 1, sizeof *k->time);
  k->label = calloc(room + 1, sizeof *k->label);
  if (!k->input || !k->output || !k->t || !k->time || !k->label)
    return DX_FAIL(INTERNAL, "no memory for %lld predictions", (long long)k->rows);
  return NULL;
}

static dx_error *check_times(work *k)
{
  const double last = (double)(k->job->model.timesteps - 1 + k->t_first), from = (double)k->t_first;
  const bool any = dx_predict_find(k->job->spec->objective.predict)->preconditioned; /* c_noise, no index */

  for (int64_t i = 0; i < k->mine; i++) {
    if (any && !isfinite(k->t[i]))
      return DX_FAIL(DATA, "%s: /t has %g in row %lld; allowed: any finite number", k->job->in, k->t[i], (long long)(k->row + i));
    if (!any && !(k->t[i] >= from && k->t[i] <= last)) /* NaN, too */
      return DX_FAIL(DATA, "%s: /t has %.17g in row %lld; allowed: %g to %g", k->job->in, k->t[i], (long long)(k->row + i), from, last);
    k->time[i] = (float)(k->t[i] - from);
  }
  return NULL;
}

static dx_error *read_labels(work *k, dx_h5 *f)
{
  int64_t *const label = calloc((size_t)k->mine + 1, sizeof *label);
  dx_error *err = label ? dx_h5_read_rows(f, "/label", DX_H5_I64, k->row, k->mine, label) : DX_FAIL(INTERNAL, "no memory for labels");

  for (int64_t i = 0; i < k->mine && !err; i++) {
    if (label[i] < 0 || label[i] >= k->job->model.classes)
      err = DX_FAIL(DATA, "%s: /label has %lld in row %lld; allowed: 0 to %lld", k->job->in, (long long)label[i],
                    (long long)(k->row + i), (long long)k->job->model.classes - 1);
    k->label[i] = (int32_t)label[i];
  }
  free(label);
  return err;
}

/* What stands past the end of the last grain is its first row once more: finite, and cut off later. */
static void fill_up(work *k)
{
  const int64_t room = (k->last - k->first) * k->grain, whole = k->mine / k->grain * k->grain;

  for (int64_t i = k->mine; i < room; i++) {
    memcpy(k->input + i * k->in, k->input + whole * k->in, (size_t)k->in * sizeof *k->input);
    k->time[i] = k->time[whole];
    k->label[i] = k->label[whole];
  }
}

static dx_error *read_rows(work *k, dx_h5 *f)
{
  if (k->mine == 0) return NULL;
  DX_TRY(dx_h5_read_rows(f, "/x", DX_H5_F32, k->row, k->mine, k->input));
  for (int64_t i = 0; i < k->mine * k->in; i++)
    if (!isfinite(k->input[i]))
      return DX_FAIL(DATA, "%s: /x has %s in row %lld", k->job->in, isnan(k->input[i]) ? "NaN" : "an infinity",
                     (long long)(k->row + i / k->in));
  DX_TRY(dx_h5_read_rows(f, "/t", DX_H5_F64, k->row, k->mine, k->t));
  DX_TRY(check_times(k));
  if (k->labels) DX_TRY(read_labels(k, f));
  fill_up(k);
  return NULL;
}

/* --- computing -------------------------------------------------------------- */

static void show_progress(work *k, int crew)
{
  int64_t done;
  char left[32];

  dx_watch_say("predicting");
#pragma omp atomic capture
  done = ++k->done;
  if (crew) return;
  const double part = (double)done / (double)(k->last - k->first);
  dx_log_progress(k->job->team->log, "predicting %3.0f%%  %s left", 100 * part,
                  dx_clock_words((dx_clock() - k->begin) * (1 / part - 1), left));
}

/* One grain of this rank's. */
static void compute(void *work_, int crew, int64_t grain)
{
  work *const k = work_;
  const int64_t i = grain * k->grain;

  dx_net_forward(k->net, crew, k->grain, NULL, k->time + i, k->labels ? k->label + i : NULL, k->input + i * k->in,
                 k->output + i * k->out);
  show_progress(k, crew);
}

/* Rows of all ranks, `one` values of `size` bytes each, to rank 0 in order; NULL elsewhere.  Collective */
static dx_error *gather(const work *k, const void *mine, int64_t one, size_t size, void **all)
{
  const dx_team *const team = k->job->team;
  const int ranks = dx_comm_size(team->comm), me = dx_comm_rank(team->comm);
  int64_t *const counts = calloc(2 * (size_t)ranks, sizeof *counts);
  dx_error *err = NULL;

  *all = calloc(me ? 1 : (size_t)(k->rows * one), size);
  if (!counts || !*all) err = DX_FAIL(INTERNAL, "no memory to gather predictions");
  err = dx_comm_agree(team->comm, err);
  for (int r = 0; r < ranks && !err; r++) {
    int64_t a, b;

    dx_team_share(team, k->grains, r, &a, &b);
    const int64_t from = a * k->grain < k->rows ? a * k->grain : k->rows, to = b * k->grain < k->rows ? b * k->grain : k->rows;
    counts[r] = (to - from) * one;
    counts[ranks + r] = from * one;
  }
  if (!err) dx_comm_gather(team->comm, mine, k->mine * one, *all, counts, counts + ranks, size);
  free(counts);
  return err;
}

/* --- writing ---------------------------------------------------------------- */

/* In the shape of the input, whose last dimension is that of the channels. */
static dx_error *fill_file(const work *k, dx_h5 *f, const float *y, double *t)
{
  const dx_predict_job *const j = k->job;
  dx_h5_info info = k->x;
  const dx_h5_info column = {.type = DX_H5_F64, .rank = 1, .dim = {k->rows}};

  info.dim[info.rank - 1] = j->model.out_channels;
  for (int64_t i = 0; i < k->rows; i++) t[i] += (double)(1 - k->t_first);
  DX_TRY(dx_h5_set_int(f, "/", "format", FORMAT));
  DX_TRY(dx_h5_set_text(f, "/", "program", "diffx"));
  DX_TRY(dx_h5_set_text(f, "/", "content", "prediction"));
  DX_TRY(dx_h5_set_int(f, "/", "step", j->step));
  DX_TRY(dx_h5_set_int(f, "/", "ema", j->ema));
  DX_TRY(dx_h5_set_text(f, "/", "predict", j->spec->objective.predict));
  DX_TRY(dx_h5_set_text(f, "/", "experiment", j->spec->settings));
  DX_TRY(dx_h5_write(f, "/prediction", &info, y, "1", "what the network gives for each row of x (attribute predict of the file)", NULL));
  DX_TRY(dx_h5_write(f, "/t", &column, t, "1", "timestep of each row, t = 1..T; the network is given t - 1", NULL));
  DX_TRY(dx_h5_set_int(f, "/t", "first", 1));
  return dx_h5_save(f, j->out);
}

static dx_error *write_file(const work *k, const float *y, double *t)
{
  dx_error *err;
  dx_h5 *f;

  for (int64_t i = 0; i < k->rows * k->out; i++)
    if (!isfinite(y[i])) return DX_FAIL(NUMERIC, "the prediction of row %lld is not finite", (long long)(i / k->out));
  DX_TRY(dx_h5_create(&f));
  err = fill_file(k, f, y, t);
  dx_h5_close(f);
  return err;
}

/* All of it with the file open on all ranks.  Collective */
static dx_error *run(work *k, dx_h5 *f, const float *w)
{
  const dx_comm *const c = k->job->team->comm;
  const dx_shape s = k->job->model.sample;
  void *y = NULL, *t = NULL;
  dx_error *err;

  DX_TRY(dx_comm_agree(c, look(k, f)));
  k->grain = k->job->spec->evaluate.grain;
  k->grains = (k->rows + k->grain - 1) / k->grain;
  k->in = dx_shape_dim(s);
  k->out = s.h * s.w * k->job->model.out_channels;
  err = take_memory(k);
  const int crews = dx_team_crews(k->job->team, k->last - k->first, dx_net_shares(k->net));
  if (!err) err = read_rows(k, f);
  DX_TRY(dx_comm_agree(c, err));
  DX_TRY(dx_net_ready(k->net, DX_PASS_INFER, k->grain, crews, w));
  dx_team_each(k->job->team, crews, k->last - k->first, compute, k);
  err = gather(k, k->output, k->out, sizeof(float), &y);
  if (!err) err = gather(k, k->t, 1, sizeof(double), &t);
  if (!err) err = dx_comm_agree(c, dx_comm_rank(c) == 0 ? write_file(k, y, t) : NULL);
  free(y);
  free(t);
  return err;
}

dx_error *dx_predict_rows(const dx_predict_job *job, dx_net *net, const float *w)
{
  work k = {.job = job, .net = net, .begin = dx_clock()};
  dx_error *err;
  dx_h5 *f;

  DX_TRY(dx_h5_open_parallel(job->team->comm, job->in, &f));
  err = run(&k, f, w);
  dx_h5_close(f);
  free(k.input);
  free(k.output);
  free(k.t);
  free(k.time);
  free(k.label);
  return err;
}
