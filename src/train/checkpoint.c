/* SPDX-License-Identifier: Apache-2.0 */
/* train/checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "io/file.h"
#include "io/h5.h"
#include "train/optimizer.h"

enum { FORMAT = 2 }; /* 2: /window/vb for /window/decoder */

/* --- writing ---------------------------------------------------------------- */

static dx_error *write_array(dx_h5 *f, const char *path, dx_h5_type type, int64_t n, const void *data,
                             const char *what)
{
  const dx_h5_info info = {.type = type, .rank = 1, .dim = {n}};
  const size_t size = type == DX_H5_F32 ? 4 : 8;

  DX_TRY(dx_h5_write(f, path, &info, data, "1", what, NULL));
  return dx_h5_set_hash(f, path, "checksum", dx_hash(data, (size_t)n * size, 0));
}

static void print_shape(const dx_param_entry *e, char shape[96])
{
  int at = 0;

  shape[0] = '\0';
  for (int d = 0; d < e->dims; d++)
    at += snprintf(shape + at, 96 - (size_t)at, d ? " %lld" : "%lld", (long long)e->dim[d]);
}

/* Names, places and shapes of the parameters, for readers of the file. */
static dx_error *write_table(dx_h5 *f, const dx_params *p)
{
  char path[96], shape[96];

  for (int64_t i = 0; i < p->count; i++) {
    const dx_param_entry *const e = &p->entry[i];
    const dx_h5_info info = {.type = DX_H5_I64, .rank = 1, .dim = {2}};
    const int64_t where[2] = {e->where.at, e->where.n};

    print_shape(e, shape);
    snprintf(path, sizeof path, "/parameters/%s", e->name);
    DX_TRY(dx_h5_write(f, path, &info, where, "floats", "first float and number of floats in the vectors", NULL));
    DX_TRY(dx_h5_set_text(f, path, "shape", shape));
  }
  return NULL;
}

static dx_error *write_window(dx_h5 *f, const dx_window *w, int64_t T)
{
  DX_TRY(write_array(f, "/window/loss", DX_H5_F64, 1, &w->loss, "sum of losses since the last row of train"));
  DX_TRY(write_array(f, "/window/examples", DX_H5_I64, 1, &w->examples, "examples in that sum"));
  DX_TRY(write_array(f, "/window/count", DX_H5_I64, T, w->count, "examples by t since the last row of train_by_t"));
  DX_TRY(write_array(f, "/window/mse", DX_H5_F64, T, w->mse, "sums of their errors of the noise"));
  DX_TRY(write_array(f, "/window/x0_mse", DX_H5_F64, T, w->x0_mse, "sums of their errors of x0"));
  return write_array(f, "/window/vb", DX_H5_F64, T, w->vb, "sums of their terms of the bound");
}

static dx_error *write_history(dx_h5 *f, const dx_history *h)
{
  const int64_t T = h->timesteps;

  if (T == 0) return NULL;
  DX_TRY(write_array(f, "/t_sampling/count", DX_H5_I64, T, h->count, "losses that are kept of each t"));
  return write_array(f, "/t_sampling/loss", DX_H5_F64, T * DX_HISTORY, h->loss, "the last losses of each t, oldest first");
}

static const char *const sizes[] = {"sample_height", "sample_width", "sample_channels", "out_channels", "classes"};

/* Where the model's sizes stand, in the order of their attributes. */
static void sizes_of(dx_model_spec *m, int64_t *at[5])
{
  at[0] = &m->sample.h, at[1] = &m->sample.w, at[2] = &m->sample.c, at[3] = &m->out_channels, at[4] = &m->classes;
}

/* What the head of a file tells. */
typedef struct {
  int64_t step;
  const char *settings, *kernels;
  uint64_t dataset_hash;
  dx_model_spec model;
  double lo, hi;           /* as in dx_checkpoint_head */
} head_out;

static dx_error *write_head(dx_h5 *f, const head_out *h)
{
  dx_model_spec model = h->model;
  int64_t *size[5];

  DX_TRY(dx_h5_set_int(f, "/", "format", FORMAT));
  DX_TRY(dx_h5_set_text(f, "/", "program", "diffx"));
  DX_TRY(dx_h5_set_text(f, "/", "content", "checkpoint"));
  DX_TRY(dx_h5_set_int(f, "/", "step", h->step));
  DX_TRY(dx_h5_set_text(f, "/", "experiment", h->settings));
  DX_TRY(dx_h5_set_text(f, "/", "kernels", h->kernels));
  sizes_of(&model, size);
  for (int i = 0; i < 5; i++) DX_TRY(dx_h5_set_int(f, "/", sizes[i], *size[i]));
  if (!isnan(h->lo)) {
    DX_TRY(dx_h5_set_real(f, "/", "range_lo", h->lo));
    DX_TRY(dx_h5_set_real(f, "/", "range_hi", h->hi));
  }
  return dx_h5_set_hash(f, "/", "dataset_hash", h->dataset_hash);
}

/* Slices of all ranks to rank 0; whole (floats) there, NULL elsewhere.  Collective */
static dx_error *gather_slices(const dx_comm *c, const dx_state *s, const float *mine, float **whole)
{
  const int ranks = dx_comm_size(c), me = dx_comm_rank(c);
  int64_t *const at = calloc(4 * (size_t)ranks, sizeof *at), own[2] = {s->n, s->at};
  dx_error *err = NULL;

  *whole = me ? NULL : malloc((size_t)s->floats * sizeof(float) + 1);
  if (!at || (!me && !*whole)) err = DX_FAIL(INTERNAL, "no memory to gather a checkpoint");
  err = dx_comm_agree(c, err);
  if (!err) {
    int64_t *const counts = at + 2 * ranks, *const offsets = counts + ranks;

    for (int r = 0; r < ranks; r++) {
      counts[r] = 2;
      offsets[r] = 2 * r;
    }
    dx_comm_gather(c, own, 2, at, counts, offsets, sizeof *at);
    for (int r = 0; r < ranks; r++) {
      counts[r] = at[2 * r];
      offsets[r] = at[2 * r + 1];
    }
    dx_comm_gather(c, mine, s->n, *whole, counts, offsets, sizeof(float));
  }
  free(at);
  return err;
}

/* A whole vector of the state, which does not wait in memory for those that follow. */
static dx_error *write_vector(dx_h5 *f, const char *file, const char *path, const dx_state *s, const float *v, const char *what)
{
  DX_TRY(write_array(f, path, DX_H5_F32, s->floats, v, what));
  return dx_h5_send(f, file, path);
}

/* Gather one vector and write it on rank 0.  Collective */
static dx_error *save_slices(dx_h5 *f, const char *file, const dx_comm *c, const dx_state *s, const float *mine,
                             const char *path, const char *what)
{
  float *whole = NULL;
  const bool alone = dx_comm_size(c) == 1; /* with the whole vector in hand */
  dx_error *err = alone ? NULL : gather_slices(c, s, mine, &whole);

  if (!err) err = dx_comm_agree(c, f ? write_vector(f, file, path, s, alone ? mine : whole, what) : NULL);
  free(whole);
  return err;
}

/* Collective */
static dx_error *save_averages(dx_h5 *f, const char *file, const dx_comm *c, const dx_problem *p, const dx_state *s)
{
  char name[DX_WEIGHTS_NAME], path[DX_WEIGHTS_NAME + 1];

  for (int i = 0; i < s->averages; i++) {
    snprintf(path, sizeof path, "/%s", dx_weights_name(&p->spec->train, i + 1, name));
    DX_TRY(save_slices(f, file, c, s, s->ema[i], path, "moving average of the weights"));
  }
  return NULL;
}

static dx_error *write_own(dx_h5 *f, const char *file, const dx_problem *p, const dx_state *s)
{
  const dx_dataset_info *const i = p->info;
  const head_out h = {.step = s->step, .settings = p->spec->settings, .kernels = p->team->kernels,
                  .dataset_hash = i->hash, .model = dx_problem_model(p),
                  .lo = i->has_range ? (i->lo - i->shift) / i->scale : -INFINITY,
                  .hi = i->has_range ? (i->hi - i->shift) / i->scale : INFINITY};

  DX_TRY(write_head(f, &h));
  if (p->net) DX_TRY(write_table(f, dx_net_params(p->net)));
  DX_TRY(write_window(f, &s->window, p->process.timesteps));
  DX_TRY(write_history(f, &s->history));
  return write_vector(f, file, "/weights", s, s->w, "the parameters, one vector (see /parameters)");
}

/* By step: the names are equal but for the number, which grows longer after eight digits. */
static int by_step(const void *a, const void *b)
{
  const char *const x = *(char *const *)a, *const y = *(char *const *)b;
  const size_t m = strlen(x), n = strlen(y);

  return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static void list_free(char **paths, int n)
{
  for (int i = 0; i < n; i++) free(paths[i]);
  free(paths);
}

/* Paths of the checkpoints in a folder, oldest first; *n of them, each malloc'd. A folder that is
   not there has none. */
static dx_error *list(const char *folder, const char *ending, char ***out, int *n)
{
  DIR *const d = opendir(folder);
  dx_error *err = NULL;
  int room = 0;

  *out = NULL;
  *n = 0;
  if (!d) return errno == ENOENT ? NULL : DX_FAIL(IO, "cannot read %s: %s", folder, strerror(errno));
  for (struct dirent *e; !err && (errno = 0, e = readdir(d));) {
    const size_t length = strlen(e->d_name), last = strlen(ending);

    if (strncmp(e->d_name, "step-", 5) || length <= 5 + last || strcmp(e->d_name + length - last, ending)) continue;
    if (strspn(e->d_name + 5, "0123456789") != length - 5 - last) continue; /* a copy that somebody made */
    if (*n == room) {
      char **const longer = realloc(*out, (size_t)(room = 2 * room + 8) * sizeof *longer);

      if (longer) *out = longer;
      else err = DX_FAIL(INTERNAL, "no memory for the list of checkpoints");
    }
    char *const path = err ? NULL : malloc(strlen(folder) + length + 2);
    if (path) sprintf((*out)[(*n)++] = path, "%s/%s", folder, e->d_name);
    else if (!err) err = DX_FAIL(INTERNAL, "no memory for the list of checkpoints");
  }
  if (!err && errno) err = DX_FAIL(IO, "cannot read %s: %s", folder, strerror(errno));
  closedir(d);
  if (err) list_free(*out, *n);
  else if (*n) qsort(*out, (size_t)*n, sizeof **out, by_step);
  return err;
}

/* Keep that many up to the one just written; newer names are damaged files that a resume passed over,
   and neither count nor go. What a killed session had begun to write goes, too. */
static dx_error *drop_old(const char *folder, const char *written, int64_t keep)
{
  char **paths;
  int n;

  DX_TRY(list(folder, ".h5", &paths, &n));
  int upto = n;
  while (upto > 0 && strcmp(paths[upto - 1], written)) upto--;
  for (int i = 0; i < upto - keep; i++) unlink(paths[i]);
  list_free(paths, n);
  DX_TRY(list(folder, ".h5.part", &paths, &n));
  for (int i = 0; i < n; i++) unlink(paths[i]);
  list_free(paths, n);
  return NULL;
}

dx_error *dx_checkpoint_save(dx_trainer *t, const dx_problem *p, const char *folder, int64_t keep)
{
  const dx_comm *const c = p->team->comm;
  const dx_state *const s = dx_trainer_state(t);
  const bool lead = dx_comm_rank(c) == 0;
  char path[4096];
  dx_h5 *f = NULL;
  dx_error *err;

  dx_watch_say("checkpoint");
  dx_trainer_collect(t);
  snprintf(path, sizeof path, "%s/step-%08lld.h5", folder, (long long)s->step);
  err = lead ? dx_h5_create(&f) : NULL;
  if (lead && !err) err = write_own(f, path, p, s);
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  DX_TRY_GOTO(err, out, save_slices(f, path, c, s, s->moment1, "/moment1", "Adam's first moment"));
  DX_TRY_GOTO(err, out, save_slices(f, path, c, s, s->moment2, "/moment2", "Adam's second moment"));
  DX_TRY_GOTO(err, out, save_averages(f, path, c, p, s));
  err = lead ? dx_h5_save(f, path) : NULL;
  if (lead && !err) err = drop_old(folder, path, keep);
  err = dx_comm_agree(c, err);
out:
  dx_h5_close(f);
  return err;
}

/* HDF5's parts of such a file, on disk at the end. */
static dx_error *write_alone(dx_h5 *f, const head_out *h, const dx_params *p, const float *w, const char *path)
{
  DX_TRY(write_head(f, h));
  DX_TRY(write_table(f, p));
  DX_TRY(write_array(f, "/weights", DX_H5_F32, p->floats, w, "the parameters, one vector (see /parameters)"));
  return dx_h5_save(f, path);
}

dx_error *dx_checkpoint_write_weights(const char *path, const char *settings, const dx_model_spec *model, const dx_params *p,
                                      const float *w)
{
  const head_out h = {.settings = settings, .kernels = "none", .model = *model, .lo = NAN, .hi = NAN};
  dx_h5 *f;
  dx_error *err;

  DX_TRY(dx_h5_create(&f));
  err = write_alone(f, &h, p, w, path);
  dx_h5_close(f);
  return err;
}

/* --- reading ---------------------------------------------------------------- */

void dx_checkpoint_head_free(dx_checkpoint_head *h)
{
  free(h->settings);
  free(h->kernels);
  *h = (dx_checkpoint_head){0};
}

/* A whole array, its length and checksum checked; *out malloc'd. want < 0: any length. */
static dx_error *read_array(dx_h5 *f, const char *file, const char *path, dx_h5_type type, int64_t want,
                            void **out, int64_t *n)
{
  const size_t size = type == DX_H5_F32 ? 4 : 8;
  dx_h5_info info;
  char *sum = NULL, now[24];
  dx_error *err;

  *out = NULL;
  DX_TRY(dx_h5_look(f, path, &info));
  if (info.rank != 1 || (want >= 0 && info.dim[0] != want))
    return DX_FAIL(DATA, "%s: %s has %lld numbers, this experiment has %lld", file, path,
                   info.rank == 1 ? (long long)info.dim[0] : -1LL, (long long)want);
  *n = info.dim[0];
  if (*n > INT64_MAX / 16 || !(*out = malloc((size_t)*n * size + 1))) return DX_FAIL(INTERNAL, "no memory for %s", path);
  DX_TRY_GOTO(err, out, dx_h5_read(f, path, type, *out));
  DX_TRY_GOTO(err, out, dx_h5_get_text(f, path, "checksum", &sum));
  snprintf(now, sizeof now, "%016" PRIx64, dx_hash(*out, (size_t)*n * size, 0));
  if (strcmp(now, sum)) err = DX_FAIL(DATA, "%s: %s is damaged: its checksum is %s, stored is %s", file, path, now, sum);
out:
  free(sum);
  if (err) {
    free(*out);
    *out = NULL;
  }
  return err;
}

/* What the model was made for; older files do not tell. */
static dx_error *read_sizes(dx_h5 *f, const char *path, dx_model_spec *m)
{
  int64_t *size[5];

  sizes_of(m, size);
  if (!dx_h5_has_attr(f, "/", sizes[0])) return NULL;
  m->sample.b = 1;
  for (int i = 0; i < 5; i++) DX_TRY(dx_h5_get_int(f, "/", sizes[i], size[i]));
  const dx_shape out = {1, m->sample.h, m->sample.w, m->out_channels};
  if (dx_shape_is_sample(m->sample) && dx_shape_is_sample(out) && m->classes >= 0 && m->classes <= INT32_MAX) return NULL;
  return DX_FAIL(DATA, "%s: the model is made for samples of %lld x %lld x %lld, %lld channels of output and %lld classes; "
                 "allowed: sizes from 1 with fewer than 2^31 numbers in a sample, classes from 0", path, (long long)m->sample.h,
                 (long long)m->sample.w, (long long)m->sample.c, (long long)m->out_channels, (long long)m->classes);
}

static dx_error *read_head(dx_h5 *f, const char *path, dx_checkpoint_head *h)
{
  char *hash = NULL;
  dx_error *err;

  *h = (dx_checkpoint_head){0};
  DX_TRY_GOTO(err, out, dx_h5_expect(f, "checkpoint"));
  DX_TRY_GOTO(err, out, dx_h5_get_int(f, "/", "format", &h->format));
  if (h->format > FORMAT) {
    err = DX_FAIL(DATA, "%s has checkpoint format %lld; this diffx knows up to %d", path, (long long)h->format, FORMAT);
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_h5_get_int(f, "/", "step", &h->step));
  DX_TRY_GOTO(err, out, dx_h5_get_text(f, "/", "experiment", &h->settings));
  DX_TRY_GOTO(err, out, dx_h5_get_text(f, "/", "kernels", &h->kernels));
  DX_TRY_GOTO(err, out, dx_h5_get_text(f, "/", "dataset_hash", &hash));
  h->dataset_hash = strtoull(hash, NULL, 16);
  DX_TRY_GOTO(err, out, read_sizes(f, path, &h->model));
  h->lo = h->hi = NAN;
  if (dx_h5_has_attr(f, "/", "range_lo")) {
    DX_TRY_GOTO(err, out, dx_h5_get_real(f, "/", "range_lo", &h->lo));
    DX_TRY_GOTO(err, out, dx_h5_get_real(f, "/", "range_hi", &h->hi));
  }
out:
  free(hash);
  if (err) dx_checkpoint_head_free(h);
  return err;
}

/* Is a member of the file's root one of the averages? */
static bool is_average(const char *name) { return !strcmp(name, "ema") || !strncmp(name, "ema-", 4); }

/* Names of the averages in a file, each behind ", ". */
static dx_error *list_averages(dx_h5 *f, char *text, size_t room)
{
  char **names;
  int count;

  *text = '\0';
  DX_TRY(dx_h5_list(f, "/", &names, &count));
  for (int i = 0; i < count; i++)
    if (is_average(names[i])) snprintf(text + strlen(text), room - strlen(text), ", %s", names[i]);
  dx_h5_names_free(names, count);
  return NULL;
}

/* Every vector is whole and as long as the others; an imported model has weights alone. */
static dx_error *check_vectors(dx_h5 *f, const char *path)
{
  char **names, vector[DX_WEIGHTS_NAME + 1];
  dx_error *err;
  void *whole;
  int64_t n;
  int count;

  DX_TRY(read_array(f, path, "/weights", DX_H5_F32, -1, &whole, &n));
  free(whole);
  DX_TRY(dx_h5_list(f, "/", &names, &count));
  for (int i = 0; i < count; i++) {
    if (strcmp(names[i], "moment1") && strcmp(names[i], "moment2") && !is_average(names[i])) continue;
    snprintf(vector, sizeof vector, "/%s", names[i]);
    DX_TRY_GOTO(err, out, read_array(f, path, vector, DX_H5_F32, n, &whole, &n));
    free(whole);
  }
  err = NULL;
out:
  dx_h5_names_free(names, count);
  return err;
}

dx_error *dx_checkpoint_open(const char *path, dx_checkpoint_head *head)
{
  dx_checkpoint_head h = {0};
  dx_error *err;
  dx_h5 *f;

  DX_TRY(dx_h5_open_sealed(path, &f));
  err = read_head(f, path, &h);
  if (!err) err = check_vectors(f, path);
  dx_h5_close(f);
  if (head && !err) *head = h;
  else dx_checkpoint_head_free(&h);
  return err;
}

dx_error *dx_checkpoint_read(const char *path, const char *name, float **w, int64_t *floats)
{
  char vector[DX_WEIGHTS_NAME + 1], there[DX_REALS_MAX * (DX_WEIGHTS_NAME + 2)];
  void *whole = NULL;
  dx_error *err;
  dx_h5 *f;

  snprintf(vector, sizeof vector, "/%s", strcmp(name, "raw") ? name : "weights");
  DX_TRY(dx_h5_open(path, &f));
  if (dx_h5_has(f, vector)) err = read_array(f, path, vector, DX_H5_F32, -1, &whole, floats);
  else if (!(err = list_averages(f, there, sizeof there)))
    err = DX_FAIL(DATA, "%s holds no weights %s; there are: raw%s", path, name, there);
  dx_h5_close(f);
  *w = whole;
  return err;
}

/* One parameter of ours as it stands in the file. */
static dx_error *check_parameter(dx_h5 *f, const char *file, const dx_param_entry *e)
{
  char path[96], ours[96], *theirs = NULL;
  dx_error *err = NULL;

  snprintf(path, sizeof path, "/parameters/%s", e->name);
  if (!dx_h5_has(f, path)) return DX_FAIL(DATA, "%s is of another model: it has no %s", file, e->name);
  print_shape(e, ours);
  DX_TRY(dx_h5_get_text(f, path, "shape", &theirs));
  if (strcmp(ours, theirs))
    err = DX_FAIL(DATA, "%s is of another model: its %s is [%s], this experiment's is [%s]", file, e->name, theirs, ours);
  free(theirs);
  return err;
}

dx_error *dx_checkpoint_fits(const char *path, int64_t floats, const dx_params *own)
{
  const int64_t wanted = own ? own->floats : 0;
  dx_error *err = NULL;
  dx_h5 *f;

  DX_TRY(dx_h5_open(path, &f));
  for (int64_t i = 0; !err && own && i < own->count; i++) err = check_parameter(f, path, &own->entry[i]);
  if (!err && floats != wanted)
    err = DX_FAIL(DATA, "%s is of another model: its parameters fill %lld floats, this experiment's %lld", path,
                  (long long)floats, (long long)wanted);
  dx_h5_close(f);
  return err;
}

dx_error *dx_checkpoint_find(const char *folder, dx_logger *log, char **path)
{
  char **paths;
  int n, damaged = 0;
  dx_error *last = NULL;

  *path = NULL;
  DX_TRY(list(folder, ".h5", &paths, &n));
  for (int i = n - 1; i >= 0 && !*path; i--) {
    dx_error *const e = dx_checkpoint_open(paths[i], NULL);

    if (!e) {
      *path = paths[i];
      paths[i] = NULL;
      break;
    }
    dx_log_say(log, DX_LOG_WARN, "%s; trying the checkpoint before it", dx_error_text(e));
    damaged++;
    dx_error_free(last);
    last = e;
  }
  list_free(paths, n);
  if (!*path && damaged) {
    last = dx_error_in(last, "%s: none of %d checkpoints can be read", folder, damaged);
    return last;
  }
  dx_error_free(last);
  return NULL;
}

dx_error *dx_checkpoint_resolve(const char *path, dx_logger *log, char **file)
{
  char folder[4096];
  struct stat s;

  *file = NULL;
  if (stat(path, &s)) return DX_FAIL(IO, "%s: no such run folder or checkpoint", path);
  if (!S_ISDIR(s.st_mode)) {
    *file = strdup(path);
    return *file ? NULL : DX_FAIL(INTERNAL, "no memory for a path");
  }
  snprintf(folder, sizeof folder, "%s/checkpoints", path);
  DX_TRY(dx_checkpoint_find(folder, log, file));
  return *file ? NULL : DX_FAIL(IO, "%s: no checkpoint in %s", path, folder);
}

/* All vectors of a checkpoint, whole, on rank 0. */
enum { VECTORS = 3 + DX_REALS_MAX }; /* weights, moments, averages */
typedef struct { void *vector[VECTORS]; void *window[6]; void *history[2]; int64_t step; } contents;

static void contents_free(contents *c)
{
  for (int i = 0; i < VECTORS; i++) free(c->vector[i]);
  for (int i = 0; i < 6; i++) free(c->window[i]);
  for (int i = 0; i < 2; i++) free(c->history[i]);
}

/* The losses that importance sampling remembers; as many of each t as can be. */
static dx_error *read_history(dx_h5 *f, const char *path, int64_t T, contents *out)
{
  int64_t n;

  DX_TRY(read_array(f, path, "/t_sampling/count", DX_H5_I64, T, &out->history[0], &n));
  DX_TRY(read_array(f, path, "/t_sampling/loss", DX_H5_F64, T * DX_HISTORY, &out->history[1], &n));
  for (int64_t i = 0; i < T; i++) {
    const int64_t kept = ((const int64_t *)out->history[0])[i];

    if (kept < 0 || kept > DX_HISTORY)
      return DX_FAIL(DATA, "%s: /t_sampling/count has %lld for t = %lld; allowed: 0 to %d", path, (long long)kept, (long long)i + 1,
                     DX_HISTORY);
  }
  return NULL;
}

static dx_error *read_vectors(dx_h5 *f, const char *path, const dx_state *s, const dx_problem *p, contents *out)
{
  static const char *const first[] = {"/weights", "/moment1", "/moment2"};
  char name[DX_WEIGHTS_NAME], average[DX_WEIGHTS_NAME + 1];
  int64_t n;

  for (int i = 0; i < 3 + s->averages; i++) {
    if (i >= 3) snprintf(average, sizeof average, "/%s", dx_weights_name(&p->spec->train, i - 2, name));
    DX_TRY(read_array(f, path, i < 3 ? first[i] : average, DX_H5_F32, s->floats, &out->vector[i], &n));
  }
  return NULL;
}

static dx_error *read_all(const char *path, const dx_state *s, const dx_problem *p, contents *out)
{
  static const char *const window[] = {"/window/loss", "/window/examples", "/window/count", "/window/mse",
                                       "/window/x0_mse", "/window/vb"};
  const int64_t T = p->process.timesteps;
  dx_checkpoint_head h = {0};
  dx_error *err;
  dx_h5 *f;
  int64_t n;

  *out = (contents){0};
  DX_TRY(dx_h5_open(path, &f));
  DX_TRY_GOTO(err, out, read_head(f, path, &h));
  out->step = h.step;
  if (h.format < FORMAT) {
    err = DX_FAIL(DATA, "%s has checkpoint format %lld, which can be evaluated and sampled from but not gone on with; "
                  "this diffx goes on with %d", path, (long long)h.format, FORMAT);
    goto out;
  }
  if (h.dataset_hash != p->info->hash) {
    err = DX_FAIL(DATA, "%s was made with other data: hash %016" PRIx64 " there, %016" PRIx64
                  " here; the dataset has changed since the run began", path, h.dataset_hash, p->info->hash);
    goto out;
  }
  DX_TRY_GOTO(err, out, read_vectors(f, path, s, p, out));
  for (int i = 0; i < 6; i++)
    DX_TRY_GOTO(err, out, read_array(f, path, window[i], i == 1 || i == 2 ? DX_H5_I64 : DX_H5_F64,
                                     i < 2 ? 1 : T, &out->window[i], &n));
  if (s->history.timesteps) DX_TRY_GOTO(err, out, read_history(f, path, T, out));
out:
  dx_h5_close(f);
  dx_checkpoint_head_free(&h);
  return err;
}

static void take_window(dx_window *w, const contents *c, int64_t T)
{
  w->loss = *(const double *)c->window[0];
  w->examples = *(const int64_t *)c->window[1];
  memcpy(w->count, c->window[2], (size_t)T * sizeof *w->count);
  memcpy(w->mse, c->window[3], (size_t)T * sizeof *w->mse);
  memcpy(w->x0_mse, c->window[4], (size_t)T * sizeof *w->x0_mse);
  memcpy(w->vb, c->window[5], (size_t)T * sizeof *w->vb);
}

/* Rank 0's to all.  Collective */
static void take_history(const dx_comm *c, dx_history *h, const contents *all)
{
  const size_t counts = (size_t)h->timesteps * sizeof *h->count, losses = (size_t)(h->timesteps * DX_HISTORY) * sizeof *h->loss;

  if (h->timesteps == 0) return;
  if (dx_comm_rank(c) == 0) {
    memcpy(h->count, all->history[0], counts);
    memcpy(h->loss, all->history[1], losses);
  }
  dx_comm_broadcast(c, h->count, counts);
  dx_comm_broadcast(c, h->loss, losses);
  dx_history_weigh(h);
}

dx_error *dx_checkpoint_load(const char *path, dx_trainer *t, const dx_problem *p)
{
  const dx_comm *const c = p->team->comm;
  const bool lead = dx_comm_rank(c) == 0;
  dx_state *const s = dx_trainer_state(t);
  float *own[VECTORS] = {NULL, s->moment1, s->moment2};
  const size_t size = (size_t)s->floats * sizeof(float);
  contents all = {0};
  float *room = lead ? NULL : malloc(size + 1);
  dx_error *err = lead ? read_all(path, s, p, &all) : NULL;

  if (!lead && !room) err = DX_FAIL(INTERNAL, "no memory to read a checkpoint");
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  memcpy(own + 3, s->ema, sizeof s->ema);
  for (int i = 0; i < 3 + s->averages; i++) {
    float *const whole = lead ? all.vector[i] : room;

    dx_comm_broadcast(c, whole, size);
    if (i == 0) dx_trainer_set_weights(t, whole);
    else memcpy(own[i], whole + s->at, (size_t)s->n * sizeof(float));
  }
  if (lead) take_window(&s->window, &all, p->process.timesteps);
  take_history(c, &s->history, &all);
  s->step = all.step;
  dx_comm_broadcast(c, &s->step, sizeof s->step);
  err = dx_trainer_reload(t);
out:
  contents_free(&all);
  free(room);
  return err;
}
