/* SPDX-License-Identifier: Apache-2.0 */
/* train/record.c - see record.h. Every row is a struct of 8-byte numbers that begins with its
   step, so rows of all kinds are kept, cut, journalled and written by the same code. That of an
   evaluation ends with its shape: later programs, whose evaluations tell more, read it too. */
#include "train/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/math.h"
#include "base/version.h"
#include "io/file.h"
#include "io/h5.h"

enum { FORMAT = 1 };
enum { HEADER, TRAIN, BY_T, KL_BARE, SESSION, MARK, KL, KINDS }; /* KL_BARE: of early programs, without a shape */

typedef struct {
  int64_t step, ranks, threads;
  char start[32], hosts[192], kernels[64]; /* kernels: zeros in journals from before they were told, whose hosts had their room */
} session;

/* A checkpoint: in which session, counted from 1, and when. */
typedef struct {
  int64_t step, session;
  char time[32];
} mark;

/* What a row of an evaluation holds: numbers of its head, by-t and by-class rows behind it, and the grid of its steps. */
typedef struct { int64_t head, rows, class_rows, steps; uint64_t grid; } shape;

typedef struct {
  size_t size;     /* bytes of a row */
  int64_t n, room;
  char *bytes;
} table;

struct dx_record {
  const dx_problem *problem;
  char folder[3072];
  int64_t last_step;   /* while replaying: later rows are dropped */
  int64_t gone;        /* the greatest step of a dropped checkpoint's mark */
  table table[KINDS];
  shape ours;          /* of evaluations */
  char *class_names;   /* a line each, or NULL */
  dx_journal *journal;
};

static dx_error *keep_row(table *t, const void *row)
{
  if (t->n == t->room) {
    const int64_t room = 2 * t->room + 16;
    char *const longer = realloc(t->bytes, (size_t)room * t->size);

    if (!longer) return DX_FAIL(INTERNAL, "no memory for a row of the record");
    t->bytes = longer;
    t->room = room;
  }
  memcpy(t->bytes + (size_t)t->n++ * t->size, row, t->size);
  return NULL;
}

/* The journal's first record: the settings that its rows were made with. */
static dx_error *check_settings(const dx_record *r, const void *bytes, size_t size)
{
  const dx_spec *const spec = r->problem->spec;
  char *const theirs = malloc(size + 1);
  dx_error *err;

  if (!theirs) return DX_FAIL(INTERNAL, "no memory for the record");
  memcpy(theirs, bytes, size);
  theirs[size] = '\0';
  err = dx_error_in(spec->compatible(spec, theirs), "%s", r->folder);
  free(theirs);
  return err;
}

static size_t numbers_of(const dx_record *r, const shape *s)
{
  return (size_t)(s->head + s->rows * s->steps + s->class_rows * r->problem->info->classes);
}

/* Of n steps of a grid; t NULL: 1..n. */
static uint64_t grid_hash(int64_t n, const int64_t *t)
{
  uint64_t hash = 0;

  for (int64_t i = 0; i < n; i++) hash = dx_hash(t ? &t[i] : &(int64_t){i + 1}, sizeof *t, hash);
  return hash;
}

/* The shape of a row of `size` bytes in the journal; false where none fits. */
static bool find_shape(const dx_record *r, uint32_t kind, const char *bytes, size_t size, shape *s)
{
  for (int64_t i = 0; kind == KL_BARE && i < 2; i++) {
    *s = (shape){15, 6, 3 * i, r->problem->process.timesteps, grid_hash(r->problem->process.timesteps, NULL)};
    if (size == 8 * numbers_of(r, s)) return true;
  }
  if (kind == KL_BARE || size < sizeof *s) return false;
  memcpy(s, bytes + size - sizeof *s, sizeof *s);
  return s->head >= 15 && s->head < 1000 && s->rows >= 6 && s->rows < 1000 && s->class_rows >= 0 && s->class_rows < 1000 &&
         s->steps >= 2 && s->steps <= 1000000 && size == 8 * numbers_of(r, s) + sizeof *s;
}

/* An evaluation's row of this or another program: what it does not hold is NaN, what we do not know is dropped. */
static dx_error *keep_evaluation(dx_record *r, const double *theirs, const shape *s)
{
  const shape ours = r->ours;
  const int64_t T = ours.steps, C = r->problem->info->classes;
  const int64_t rows = s->rows < ours.rows ? s->rows : ours.rows, class_rows = s->class_rows < ours.class_rows ? s->class_rows : ours.class_rows;
  double *const row = malloc(r->table[KL].size);
  dx_error *err;

  if (!row) return DX_FAIL(INTERNAL, "no memory for a row of the record");
  for (size_t i = 0; i < numbers_of(r, &ours); i++) row[i] = NAN;
  memcpy(row, theirs, 8 * (size_t)(s->head < ours.head ? s->head : ours.head));
  memcpy(row + ours.head, theirs + s->head, 8 * (size_t)(rows * T));
  memcpy(row + ours.head + ours.rows * T, theirs + s->head + s->rows * T, 8 * (size_t)(class_rows * C));
  memcpy(row + numbers_of(r, &ours), &ours, sizeof ours);
  err = keep_row(&r->table[KL], row);
  free(row);
  return err;
}

static dx_error *replay_evaluation(dx_record *r, uint32_t kind, const void *bytes, size_t size)
{
  shape s;

  if (!find_shape(r, kind, bytes, size, &s))
    return DX_FAIL(DATA, "%s/journal: an evaluation has %zu bytes, which no shape of this diffx fits; it was written by another one, "
                   "or for other data", r->folder, size);
  if (s.steps != r->ours.steps || s.grid != r->ours.grid)
    return DX_FAIL(CONFIG, "%s/journal: its evaluations are of another grid of %lld steps, and evaluate.respace is %s, evaluate.spacing %s "
                   "here; set them back, or evaluate this grid by diffx evaluate", r->folder, (long long)s.steps,
                   r->problem->spec->evaluate.respace, r->problem->spec->evaluate.spacing);
  return keep_evaluation(r, bytes, &s);
}

static dx_error *replay(void *ctx, uint32_t kind, const void *bytes, size_t size)
{
  dx_record *const r = ctx;
  int64_t step;

  if (kind == HEADER) return check_settings(r, bytes, size);
  const bool evaluation = kind == KL || kind == KL_BARE;

  if (kind >= KINDS || size < sizeof step || (!evaluation && size != r->table[kind].size))
    return DX_FAIL(DATA, "%s/journal: a record of kind %u has %zu bytes; this diffx cannot go on with it",
                   r->folder, kind, size);
  memcpy(&step, bytes, sizeof step);
  if (step <= r->last_step && evaluation) return replay_evaluation(r, kind, bytes, size);
  if (step <= r->last_step) return keep_row(&r->table[kind], bytes);
  if (kind == MARK && step > r->gone) r->gone = step;
  return NULL;
}

/* The journal anew: header and the rows that stay. */
static dx_error *rewrite(dx_record *r)
{
  const char *const settings = r->problem->spec->settings;

  DX_TRY(dx_journal_restart(r->journal));
  DX_TRY(dx_journal_append(r->journal, HEADER, settings, strlen(settings)));
  for (uint32_t k = TRAIN; k < KINDS; k++)
    for (int64_t i = 0; i < r->table[k].n; i++)
      DX_TRY(dx_journal_append(r->journal, k, r->table[k].bytes + (size_t)i * r->table[k].size, r->table[k].size));
  return dx_journal_commit(r->journal);
}

static dx_error *create(const dx_problem *p, const char *folder, dx_record **out)
{
  const size_t T = (size_t)p->process.timesteps;
  dx_record *const r = calloc(1, sizeof *r);

  if (!r) return DX_FAIL(INTERNAL, "no memory for the record");
  r->problem = p;
  snprintf(r->folder, sizeof r->folder, "%s", folder);
  r->table[TRAIN].size = sizeof(dx_train_row);
  r->table[BY_T].size = 8 + 4 * T * 8;
  r->ours = (shape){sizeof(dx_evaluation_head) / 8, DX_EVALUATION_ROWS, DX_EVALUATION_CLASS_ROWS, p->grid.steps,
                    grid_hash(p->grid.steps, p->grid.t)};
  r->table[KL].size = 8 * numbers_of(r, &r->ours) + sizeof r->ours;
  r->table[SESSION].size = sizeof(session);
  r->table[MARK].size = sizeof(mark);
  *out = r;
  return dx_dataset_class_names(p->data, &r->class_names);
}

static bool has_row(const table *t, int64_t step)
{
  for (int64_t i = 0; i < t->n; i++)
    if (!memcmp(t->bytes + (size_t)i * t->size, &step, sizeof step)) return true;
  return false;
}

/* Rows up to the step that is resumed from are not all there: keep the file that has them. */
static dx_error *keep_old_metrics(const dx_record *r)
{
  char from[4096], to[4096];

  snprintf(from, sizeof from, "%s/metrics.h5", r->folder);
  snprintf(to, sizeof to, "%s/metrics-before-step-%lld.h5", r->folder, (long long)r->last_step);
  dx_log_say(r->problem->team->log, DX_LOG_WARN, "%s/journal is damaged or gone: rows before step %lld are missing from "
             "the record; the old record is kept as %s", r->folder, (long long)r->last_step, to);
  if (dx_file_exists(to)) return NULL; /* kept by an earlier start: what stands in its place now lacks the rows, too */
  if (dx_file_exists(from) && rename(from, to)) return DX_FAIL(IO, "cannot rename %s to %s", from, to);
  return NULL;
}

dx_error *dx_record_open(const dx_problem *p, const char *folder, int64_t last_step, dx_record **out)
{
  dx_record *r = NULL;
  char path[4096];
  dx_error *err;

  DX_TRY_GOTO(err, out, create(p, folder, &r));
  r->last_step = last_step;
  snprintf(path, sizeof path, "%s/journal", folder);
  DX_TRY_GOTO(err, out, dx_journal_open(path, replay, r, &r->journal));
  if (last_step == 0 && r->gone > 0) {
    err = DX_FAIL(DATA, "%s holds the record of a run that had a checkpoint at step %lld, but no checkpoint to go on from; "
                  "choose another output, or remove the folder to begin anew", folder, (long long)r->gone);
    goto out;
  }
  if (last_step > 0 && !has_row(&r->table[MARK], last_step)) DX_TRY_GOTO(err, out, keep_old_metrics(r));
  err = rewrite(r);
out:
  if (err) dx_record_close(r);
  else *out = r;
  return err;
}

void dx_record_close(dx_record *r)
{
  if (!r) return;
  dx_journal_close(r->journal);
  for (int k = 0; k < KINDS; k++) free(r->table[k].bytes);
  free(r->class_names);
  free(r);
}

static dx_error *add_row(dx_record *r, uint32_t kind, const void *row)
{
  DX_TRY(keep_row(&r->table[kind], row));
  if (!r->journal) return NULL;
  return dx_journal_append(r->journal, kind, row, r->table[kind].size);
}

dx_error *dx_record_train(dx_record *r, const dx_train_row *row) { return add_row(r, TRAIN, row); }

/* Mean term of row i of a training window. A variance that is estimated from the network's errors is here the
   best one for the window's own error; the term is affine in that, so the mean's term is the mean of terms. */
static double window_term(const dx_problem *p, const dx_window *w, int64_t i)
{
  const double n = (double)w->count[i], x0_mse = w->x0_mse[i] / n, D = (double)p->dim;

  if (i == 0 && dx_problem_decoder_kind(p) == DX_DECODER_OPTIMAL && p->info->raw != DX_RAW_U8) {
    const dx_decoder d = dx_problem_decoder(p, x0_mse);

    return dx_process_vb(&p->process, &d, 1, p->dim, x0_mse * D);
  }
  if (i == 0 || !p->objective.reverse->estimate) return w->vb[i] / n;
  return D * dx_normal_kl(0, p->process.post_log[i], 0, dx_log(dx_reverse_best(&p->process, i, x0_mse))) +
         0.5 * D * (1 - p->process.post_var[i] / dx_reverse_best(&p->process, i, x0_mse));
}

dx_error *dx_record_by_t(dx_record *r, int64_t step, const dx_window *w)
{
  const dx_problem *const p = r->problem;
  const int64_t T = p->process.timesteps;
  double *const row = malloc(r->table[BY_T].size);
  dx_error *err;

  if (!row) return DX_FAIL(INTERNAL, "no memory for a row of the record");
  double *const count = row + 1, *const mse = count + T, *const x0 = mse + T, *const kl = x0 + T;
  memcpy(row, &step, sizeof step);
  for (int64_t i = 0; i < T; i++) {
    const double n = (double)w->count[i];

    count[i] = n;
    mse[i] = n > 0 ? w->mse[i] / n : NAN;
    x0[i] = n > 0 ? w->x0_mse[i] / n : NAN;
    kl[i] = n > 0 ? window_term(p, w, i) : NAN;
  }
  err = add_row(r, BY_T, row);
  free(row);
  return err;
}

dx_error *dx_record_evaluation(dx_record *r, const dx_evaluation *e)
{
  char *const row = malloc(r->table[KL].size);
  dx_error *err;

  if (!row) return DX_FAIL(INTERNAL, "no memory for a row of the record");
  memcpy(row, &e->head, sizeof e->head);
  memcpy(row + sizeof e->head, e->memory, (size_t)dx_evaluation_numbers(e->timesteps, e->classes) * 8);
  memcpy(row + r->table[KL].size - sizeof r->ours, &r->ours, sizeof r->ours);
  err = add_row(r, KL, row);
  free(row);
  return err;
}

dx_error *dx_record_session(dx_record *r, int64_t step, const char *start, int64_t ranks, int64_t threads,
                            const char *hosts)
{
  session s = {.step = step, .ranks = ranks, .threads = threads};

  snprintf(s.start, sizeof s.start, "%s", start);
  snprintf(s.hosts, sizeof s.hosts, "%s", hosts);
  snprintf(s.kernels, sizeof s.kernels, "%s", r->problem->team->kernels);
  return add_row(r, SESSION, &s);
}

bool dx_record_has_evaluation(const dx_record *r, int64_t step)
{
  return has_row(&r->table[KL], step);
}

dx_error *dx_record_mark(dx_record *r, int64_t step)
{
  mark m = {.step = step, .session = r->table[SESSION].n};

  (void)dx_clock_now(m.time);
  if (!has_row(&r->table[MARK], step)) DX_TRY(add_row(r, MARK, &m));
  return dx_journal_sync(r->journal);
}

/* --- metrics.h5 ------------------------------------------------------------------- */

/* One dataset: `width` numbers of every row of a kind, from byte `at` on. */
typedef struct {
  int kind;
  const char *path, *units, *what;
  size_t at;
  int64_t width;      /* 1: a column; T: a matrix with dimension scale t */
  dx_h5_type type;    /* of the dataset; rows hold int64 for columns of I64, double else */
  double factor;      /* of doubles */
} column;

static void copy_column(const table *t, const column *c, double *out)
{
  for (int64_t i = 0; i < t->n; i++) {
    memcpy(out + i * c->width, t->bytes + (size_t)i * t->size + c->at, (size_t)c->width * 8);
    for (int64_t j = 0; j < c->width && c->factor != 1; j++) out[i * c->width + j] *= c->factor;
  }
}

/* T 0: not by t, but a matrix even where width is 1. */
static dx_error *write_column(dx_h5 *f, const dx_record *r, const column *c, int64_t T)
{
  const table *const t = &r->table[c->kind];
  const dx_h5_info info = {.type = c->type, .rank = c->width > 1 || T == 0 ? 2 : 1, .dim = {t->n, c->width}};
  double *const data = malloc((size_t)(t->n * c->width) * 8 + 1);
  char scale[32];
  dx_error *err;

  if (!data) return DX_FAIL(INTERNAL, "no memory for the record");
  copy_column(t, c, data);
  if (c->type == DX_H5_I64 && info.rank > 1) /* counts: doubles in memory, whole numbers in the file */
    for (int64_t i = 0; i < t->n * c->width; i++) {
      const int64_t whole = isnan(data[i]) ? 0 : (int64_t)data[i]; /* NaN: of an early program, which did not count */

      memcpy(&data[i], &whole, sizeof whole);
    }
  err = dx_h5_write(f, c->path, &info, data, c->units, c->what, NULL);
  free(data);
  if (err || c->width == 1 || c->width != T) return err;
  snprintf(scale, sizeof scale, "%.*s/t", (int)(strrchr(c->path, '/') - c->path), c->path);
  return dx_h5_attach_scale(f, c->path, 1, scale, "t");
}

static dx_error *write_columns(dx_h5 *f, const dx_record *r, const column *c, int n)
{
  for (int i = 0; i < n; i++)
    DX_TRY(write_column(f, r, &c[i], c[i].kind == KL ? r->ours.steps : r->problem->process.timesteps));
  return NULL;
}

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define ROW(field) offsetof(dx_train_row, field)
#define HEAD(field) offsetof(dx_evaluation_head, field)

static dx_error *write_train(dx_h5 *f, const dx_record *r)
{
  const column columns[] = {
    {TRAIN, "/train/step", "step", "optimizer steps done", ROW(step), 1, DX_H5_I64, 1},
    {TRAIN, "/train/loss", "1", "mean loss of the examples since the row before", ROW(loss), 1, DX_H5_F64, 1},
    {TRAIN, "/train/grad_norm", "1", "norm of this step's gradient before clipping", ROW(grad_norm), 1, DX_H5_F64, 1},
    {TRAIN, "/train/rate", "1", "learning rate of this step", ROW(rate), 1, DX_H5_F64, 1},
    {TRAIN, "/timing/step", "step", "optimizer steps done", ROW(step), 1, DX_H5_I64, 1},
    {TRAIN, "/timing/seconds", "s", "since this session began", ROW(seconds), 1, DX_H5_F64, 1},
    {TRAIN, "/timing/examples_per_second", "1/s", "mean speed since the row before", ROW(examples_per_second), 1,
     DX_H5_F64, 1},
    {TRAIN, "/timing/compute_seconds", "s", "rank 0 in gradients since the row before", ROW(compute), 1, DX_H5_F64, 1},
    {TRAIN, "/timing/compute_fastest", "s", "gradients of the fastest rank since the row before", ROW(compute_fastest),
     1, DX_H5_F64, 1},
    {TRAIN, "/timing/compute_slowest", "s", "gradients of the slowest rank since the row before", ROW(compute_slowest),
     1, DX_H5_F64, 1},
    {TRAIN, "/timing/exchange_seconds", "s", "rank 0 in exchanges and updates since the row before", ROW(exchange), 1,
     DX_H5_F64, 1},
  };

  return write_columns(f, r, columns, COUNT(columns));
}

static dx_error *write_by_t(dx_h5 *f, const dx_record *r)
{
  const int64_t T = r->problem->process.timesteps;
  const size_t T8 = (size_t)T * 8;
  const column columns[] = {
    {BY_T, "/train_by_t/step", "step", "last step of the window", 0, 1, DX_H5_I64, 1},
    {BY_T, "/train_by_t/count", "examples", "examples that drew this t", 8, T, DX_H5_I64, 1},
    {BY_T, "/train_by_t/mse", "1", "mean squared error of the noise", 8 + T8, T, DX_H5_F64, 1},
    {BY_T, "/train_by_t/x0_mse", "1", "mean squared error of x0, normalised units", 8 + 2 * T8, T, DX_H5_F64, 1},
    {BY_T, "/train_by_t/kl", "nats", "mean term of the bound: column 0 is L_0, column i is L_i", 8 + 3 * T8, T,
     DX_H5_F64, 1},
  };

  return write_columns(f, r, columns, COUNT(columns));
}

/* Of data with labels: which classes cost more. */
static dx_error *write_classes(dx_h5 *f, const dx_record *r)
{
  const int64_t K = r->problem->info->classes;
  const size_t at = sizeof(dx_evaluation_head) + (size_t)DX_EVALUATION_ROWS * (size_t)r->ours.steps * 8, K8 = (size_t)K * 8;
  const double b = dx_problem_bits(r->problem);
  const column columns[] = {
    {KL, "/kl/class_count", "examples", "examples of each class", at, K, DX_H5_I64, 1},
    {KL, "/kl/class_total", "nats", "the bound of each class: mean over its examples", at + K8, K, DX_H5_F64, 1},
    {KL, "/kl/class_total_stderr", "nats", "standard error of class_total", at + 2 * K8, K, DX_H5_F64, 1},
    {KL, "/kl/class_total_bits", "bits/dim", "the bound of each class", at + K8, K, DX_H5_F64, b},
    {KL, "/kl/class_total_stderr_bits", "bits/dim", "standard error of class_total", at + 2 * K8, K, DX_H5_F64, b},
  };

  for (int i = 0; K > 0 && i < COUNT(columns); i++) DX_TRY(write_column(f, r, &columns[i], 0));
  return r->class_names ? dx_h5_set_text(f, "/kl", "class_names", r->class_names) : NULL;
}

static dx_error *write_kl(dx_h5 *f, const dx_record *r)
{
  const int64_t T = r->ours.steps;
  const size_t T8 = (size_t)T * 8, at = sizeof(dx_evaluation_head);
  const double b = dx_problem_bits(r->problem);
  const column columns[] = {
    {KL, "/kl/step", "step", "step of the evaluation", HEAD(step), 1, DX_H5_I64, 1},
    {KL, "/kl/examples", "examples", "examples of the test split", HEAD(examples), 1, DX_H5_I64, 1},
    {KL, "/kl/ema", "1", "weights: 0 raw, else averaged: the place of their rate in train.ema", HEAD(ema), 1, DX_H5_I64, 1},
    {KL, "/kl/prior", "nats", "L_T", HEAD(prior), 1, DX_H5_F64, 1},
    {KL, "/kl/prior_stderr", "nats", "standard error of prior", HEAD(prior_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/decoder", "nats", "L_0", HEAD(decoder), 1, DX_H5_F64, 1},
    {KL, "/kl/decoder_stderr", "nats", "standard error of decoder", HEAD(decoder_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/total", "nats", "the bound: prior and all terms", HEAD(total), 1, DX_H5_F64, 1},
    {KL, "/kl/total_stderr", "nats", "standard error of total", HEAD(total_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/decoder_variance", "1", "variance of the decoder, normalised units", HEAD(decoder_variance), 1,
     DX_H5_F64, 1},
    {KL, "/kl/strata_gain", "1", "of neyman strata: sum of the variances within strata at squares / within these, by the pilot", HEAD(strata_gain), 1,
     DX_H5_F64, 1},
    {KL, "/kl/strata_gain_low", "1", "lower end of its 95 % interval, each example of the pilot judged by the strata that the others choose",
     HEAD(strata_gain_low), 1, DX_H5_F64, 1},
    {KL, "/kl/strata_gain_high", "1", "its upper end", HEAD(strata_gain_high), 1, DX_H5_F64, 1},
    {KL, "/kl/train", "nats", "the bound of examples of the training split", HEAD(train), 1, DX_H5_F64, 1},
    {KL, "/kl/train_stderr", "nats", "standard error of train", HEAD(train_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/gap", "nats", "total - train", HEAD(gap), 1, DX_H5_F64, 1},
    {KL, "/kl/gap_stderr", "nats", "standard error of gap", HEAD(gap_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/train_bits", "bits/dim", "the bound of examples of the training split", HEAD(train), 1, DX_H5_F64, b},
    {KL, "/kl/train_stderr_bits", "bits/dim", "standard error of train", HEAD(train_stderr), 1, DX_H5_F64, b},
    {KL, "/kl/gap_bits", "bits/dim", "total - train", HEAD(gap), 1, DX_H5_F64, b},
    {KL, "/kl/gap_stderr_bits", "bits/dim", "standard error of gap", HEAD(gap_stderr), 1, DX_H5_F64, b},
    {KL, "/kl/vb", "nats", "mean over examples: column 0 is L_0, column i is L_i", at, T, DX_H5_F64, 1},
    {KL, "/kl/vb_stderr", "nats", "standard error of vb over examples", at + T8, T, DX_H5_F64, 1},
    {KL, "/kl/mse", "1", "mean squared error of the noise", at + 2 * T8, T, DX_H5_F64, 1},
    {KL, "/kl/x0_mse", "1", "mean squared error of x0, normalised units", at + 3 * T8, T, DX_H5_F64, 1},
    {KL, "/kl/count", "examples", "examples evaluated at this t", at + 4 * T8, T, DX_H5_I64, 1},
    {KL, "/kl/variance", "1", "variance of p(x_{t-1} given x_t), normalised units; learned: mean over numbers and examples; "
     "column 0: of the decoder", at + 5 * T8, T, DX_H5_F64, 1},
    {KL, "/kl/vb_draw_stderr", "nats", "standard error of vb from the draws of noise alone, pooled within examples; NaN with one draw",
     at + 6 * T8, T, DX_H5_F64, 1},
    {KL, "/kl/total_draw_stderr", "nats", "the same of total", HEAD(total_draw_stderr), 1, DX_H5_F64, 1},
    {KL, "/kl/prior_bits", "bits/dim", "L_T", HEAD(prior), 1, DX_H5_F64, b},
    {KL, "/kl/prior_stderr_bits", "bits/dim", "standard error of prior", HEAD(prior_stderr), 1, DX_H5_F64, b},
    {KL, "/kl/decoder_bits", "bits/dim", "L_0", HEAD(decoder), 1, DX_H5_F64, b},
    {KL, "/kl/decoder_stderr_bits", "bits/dim", "standard error of decoder", HEAD(decoder_stderr), 1, DX_H5_F64, b},
    {KL, "/kl/total_bits", "bits/dim", "the bound", HEAD(total), 1, DX_H5_F64, b},
    {KL, "/kl/total_stderr_bits", "bits/dim", "standard error of total", HEAD(total_stderr), 1, DX_H5_F64, b},
    {KL, "/kl/vb_bits", "bits/dim", "vb divided by D ln 2", at, T, DX_H5_F64, b},
    {KL, "/kl/vb_stderr_bits", "bits/dim", "standard error of vb", at + T8, T, DX_H5_F64, b},
  };

  DX_TRY(write_columns(f, r, columns, COUNT(columns)));
  return write_classes(f, r);
}

/* steps NULL: 1..T */
static dx_error *write_scale(dx_h5 *f, const char *path, int64_t T, const int64_t *steps)
{
  const dx_h5_info info = {.type = DX_H5_I64, .rank = 1, .dim = {T}};
  int64_t *const t = malloc((size_t)T * sizeof *t);
  dx_error *err;

  if (!t) return DX_FAIL(INTERNAL, "no memory for the record");
  for (int64_t i = 0; i < T; i++) t[i] = steps ? steps[i] : i + 1;
  err = dx_h5_write(f, path, &info, t, "1", steps && steps[T - 1] > T ? "timestep t of each step of the grid" : "timestep t = 1..T", NULL);
  free(t);
  return err;
}

static dx_error *write_process(dx_h5 *f, const dx_record *r)
{
  const dx_process *const p = &r->problem->process;
  const dx_h5_info info = {.type = DX_H5_F64, .rank = 1, .dim = {p->timesteps}};
  const struct { const char *path, *what; const double *data; } rows[] = {
    {"/process/beta", "variance of the noise that step t adds", p->beta},
    {"/process/alpha_bar", "share of x0's variance left at t", p->abar},
    {"/process/posterior_variance", "of q(x_{t-1} given x_t, x_0)", p->post_var},
    {"/process/variance", "of p(x_{t-1} given x_t), where it is fixed", p->var},
  };
  const dx_reverse *const reverse = r->problem->objective.reverse;
  const int fixed = !reverse->line && !reverse->estimate; /* else /kl/variance tells it */

  DX_TRY(write_scale(f, "/process/t", p->timesteps, NULL));
  for (int i = 0; i < COUNT(rows) - !fixed; i++) {
    DX_TRY(dx_h5_write(f, rows[i].path, &info, rows[i].data, "1", rows[i].what, NULL));
    DX_TRY(dx_h5_attach_scale(f, rows[i].path, 0, "/process/t", "t"));
  }
  return NULL;
}

/* When session i, from 0, was last known to live: the last one now, the others at their last checkpoint ("": none). */
static const char *session_end(const dx_record *r, int64_t i, const char *now)
{
  const mark *const m = (const mark *)(const void *)r->table[MARK].bytes;
  const char *end = "";

  for (int64_t k = 0; k < r->table[MARK].n; k++)
    if (m[k].session == i + 1) end = m[k].time;
  return i + 1 == r->table[SESSION].n ? now : end;
}

static dx_error *write_provenance(dx_h5 *f, const dx_record *r)
{
  const table *const t = &r->table[SESSION];
  const column columns[] = {
    {SESSION, "/provenance/session_step", "step", "step at which a session began", 0, 1, DX_H5_I64, 1},
    {SESSION, "/provenance/session_ranks", "ranks", "its ranks", 8, 1, DX_H5_I64, 1},
    {SESSION, "/provenance/session_threads", "threads", "threads of its rank 0", 16, 1, DX_H5_I64, 1},
  };
  const dx_h5_info info = {.type = DX_H5_TEXT, .rank = 1, .dim = {t->n}};
  const char **start = calloc(4 * (size_t)t->n + 1, sizeof *start), **host = start + t->n, **end = host + t->n, **kernels = end + t->n;
  char libraries[256], mpi[128], now[32];
  dx_error *err;

  if (!start) return DX_FAIL(INTERNAL, "no memory for the record");
  (void)dx_clock_now(now);
  for (int64_t i = 0; i < t->n; i++) {
    const session *const s = (const session *)(const void *)(t->bytes + (size_t)i * t->size);

    start[i] = s->start;
    host[i] = s->hosts;
    kernels[i] = s->kernels;
    end[i] = session_end(r, i, now);
  }
  dx_comm_version(mpi, sizeof mpi);
  snprintf(libraries, sizeof libraries, "%s; HDF5 %s; BLIS %s", mpi, dx_h5_version(), dx_blis_version());
  DX_TRY_GOTO(err, out, write_columns(f, r, columns, COUNT(columns)));
  DX_TRY_GOTO(err, out, dx_h5_write(f, "/provenance/session_start", &info, start, "1", "UTC", NULL));
  DX_TRY_GOTO(err, out, dx_h5_write(f, "/provenance/session_end", &info, end, "1",
                                    "UTC: of the last session when this was written, of others their last checkpoint", NULL));
  DX_TRY_GOTO(err, out, dx_h5_write(f, "/provenance/session_host", &info, host, "1", "host of rank 0, and the number of nodes", NULL));
  DX_TRY_GOTO(err, out, dx_h5_write(f, "/provenance/session_kernels", &info, kernels, "1", "its kernel set, and that of BLIS", NULL));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/provenance", "version", dx_version()));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/provenance", "commit", dx_commit()));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/provenance", "libraries", libraries));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/provenance", "kernels", r->problem->team->kernels));
  DX_TRY_GOTO(err, out, dx_h5_set_text(f, "/provenance", "settings", r->problem->spec->everything));
  err = dx_h5_set_text(f, "/provenance", "written", now);
out:
  free(start);
  return err;
}

static dx_error *write_root(dx_h5 *f, const dx_record *r)
{
  const dx_problem *const p = r->problem;

  DX_TRY(dx_h5_set_int(f, "/", "format", FORMAT));
  DX_TRY(dx_h5_set_text(f, "/", "program", "diffx"));
  DX_TRY(dx_h5_set_text(f, "/", "content", "record"));
  DX_TRY(dx_h5_set_text(f, "/", "name", p->spec->name));
  DX_TRY(dx_h5_set_text(f, "/", "experiment", p->spec->settings));
  DX_TRY(dx_h5_set_text(f, "/", "modality", p->info->modality));
  DX_TRY(dx_h5_set_hash(f, "/", "dataset_hash", p->info->hash));
  DX_TRY(dx_h5_set_int(f, "/", "dimension", p->dim));
  DX_TRY(dx_h5_set_int(f, "/", "timesteps", p->process.timesteps));
  DX_TRY(dx_h5_set_int(f, "/", "examples_per_step", p->spec->train.batch));
  DX_TRY(dx_h5_set_real(f, "/", "shift", p->info->shift));
  return dx_h5_set_real(f, "/", "scale", p->info->scale);
}

static dx_error *write_all(dx_h5 *f, const dx_record *r)
{
  DX_TRY(write_root(f, r));
  DX_TRY(write_scale(f, "/train_by_t/t", r->problem->process.timesteps, NULL));
  DX_TRY(write_scale(f, "/kl/t", r->problem->grid.steps, r->problem->grid.t));
  DX_TRY(write_train(f, r));
  DX_TRY(write_by_t(f, r));
  DX_TRY(write_kl(f, r));
  DX_TRY(write_process(f, r));
  return write_provenance(f, r);
}

/* One file of one evaluation tells of every example, too. */
static dx_error *write_examples(dx_h5 *f, const dx_evaluation *e)
{
  const int64_t N = e->head.examples, T = e->timesteps;
  const dx_h5_info row = {.type = DX_H5_I64, .rank = 1, .dim = {N}}, total = {.type = DX_H5_F64, .rank = 1, .dim = {N}};
  const dx_h5_info vb = {.type = DX_H5_F64, .rank = 2, .dim = {N, T}}, by_class = {.type = DX_H5_F64, .rank = 2, .dim = {e->classes, T}};
  const dx_h5_info label = {.type = DX_H5_I32, .rank = 1, .dim = {N}};

  if (!e->example_row) return NULL;
  DX_TRY(dx_h5_write(f, "/kl/example_row", &row, e->example_row, "row", "row of each example in the test split, from 0", NULL));
  DX_TRY(dx_h5_write(f, "/kl/example_total", &total, e->example_total, "nats", "the bound of each example", NULL));
  if (e->example_label)
    DX_TRY(dx_h5_write(f, "/kl/example_label", &label, e->example_label, "1", "class of each example", NULL));
  if (e->class_vb) {
    DX_TRY(dx_h5_write(f, "/kl/class_vb", &by_class, e->class_vb, "nats", "mean terms of the examples of each class", NULL));
    DX_TRY(dx_h5_attach_scale(f, "/kl/class_vb", 1, "/kl/t", "t"));
  }
  if (!e->example_vb) return NULL;
  DX_TRY(dx_h5_write(f, "/kl/example_vb", &vb, e->example_vb, "nats", "terms of each example: column 0 is L_0, column i is L_i", NULL));
  return dx_h5_attach_scale(f, "/kl/example_vb", 1, "/kl/t", "t");
}

/* e: the one evaluation that this file is about, or NULL. */
static dx_error *save(const dx_record *r, const dx_evaluation *e, const char *path)
{
  dx_error *err;
  dx_h5 *f;

  DX_TRY(dx_h5_create(&f));
  err = write_all(f, r);
  if (!err && e) err = dx_h5_set_hash(f, "/", "weights_hash", e->weights_hash);
  if (!err && e) err = write_examples(f, e);
  if (!err) err = dx_h5_save(f, path);
  dx_h5_close(f);
  return err;
}

bool dx_record_is_saved(const dx_record *r)
{
  static const struct { int kind; const char *rows; } tables[] = {
    {TRAIN, "/train/step"}, {BY_T, "/train_by_t/step"}, {KL, "/kl/step"}, {SESSION, "/provenance/session_step"}};
  char path[4096];
  dx_h5_info info;
  dx_h5 *f = NULL;

  snprintf(path, sizeof path, "%s/metrics.h5", r->folder);
  dx_error *err = dx_h5_open_sealed(path, &f);
  bool saved = !err;
  for (int i = 0; saved && i < COUNT(tables); i++) {
    err = dx_h5_look(f, tables[i].rows, &info);
    saved = !err && info.dim[0] == r->table[tables[i].kind].n;
  }
  dx_error_free(err);
  dx_h5_close(f);
  return saved;
}

dx_error *dx_record_save(dx_record *r)
{
  char path[4096];

  DX_TRY(dx_journal_sync(r->journal));
  snprintf(path, sizeof path, "%s/metrics.h5", r->folder);
  return save(r, NULL, path);
}

dx_error *dx_record_write_evaluation(const dx_problem *p, const dx_evaluation *e, const char *path)
{
  dx_record *r = NULL;
  dx_error *err = create(p, "", &r);

  if (!err) err = dx_record_evaluation(r, e);
  if (!err) err = save(r, e, path);
  dx_record_close(r);
  return err;
}
