/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_sample.c - diffx sample RUN|CHECKPOINT, and how a trained model is found. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "commands.h"
#include "io/file.h"
#include "io/h5.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/sample.h"

enum { EXPERIMENT_MOST = 1 << 20 };

void dx_trained_free(dx_trained *t)
{
  dx_experiment_destroy(t->experiment);
  free(t->file);
  free(t->w);
  *t = (dx_trained){0};
}

/* The run's folder: of RUN itself, of RUN/checkpoints/FILE.h5, else here. */
static void find_folder(const char *path, char *folder, size_t room)
{
  char copy[2048];
  struct stat s;

  snprintf(copy, sizeof copy, "%s", path);
  snprintf(folder, room, ".");
  if (!stat(path, &s) && S_ISDIR(s.st_mode)) {
    snprintf(folder, room, "%s", path);
    return;
  }
  char *const parent = dirname(copy), parents[2048] = "";
  const char *const last = strrchr(parent, '/') ? strrchr(parent, '/') + 1 : parent;
  if (strcmp(last, "checkpoints")) return;
  if (last > parent) snprintf(parents, sizeof parents, "%.*s", (int)(last - parent - 1), parent);
  snprintf(folder, room, "%s", *parents ? parents : ".");
}

/* Is the file that stands at path of the kind that is to be written, and no part of a run? */
static dx_error *may_replace(const char *path, const char *content)
{
  char copy[4096], *found = NULL, *program = NULL;
  dx_h5 *f = NULL;
  dx_error *err = dx_h5_open(path, &f);

  snprintf(copy, sizeof copy, "%s", path);
  if (!err && dx_h5_has_attr(f, "/", "content") && dx_h5_has_attr(f, "/", "program")) {
    err = dx_h5_get_text(f, "/", "content", &found);
    if (!err) err = dx_h5_get_text(f, "/", "program", &program);
  }
  dx_h5_close(f);
  const bool same = !err && found && program && !strcmp(found, content) && !strcmp(program, "diffx");
  const char *const name = basename(copy);
  const bool of_run = !strcmp(name, "metrics.h5") || !strncmp(name, "step-", 5);

  dx_error_free(err);
  free(found);
  free(program);
  if (same && !of_run) return NULL;
  return DX_FAIL(IO, "%s stands there and is %s: it is not overwritten", path,
                 same ? "a run's own file" : strcmp(content, "dataset") ? "another file" : "no dataset that diffx has made");
}

dx_error *dx_call_folder(const char *path)
{
  char copy[4096];

  snprintf(copy, sizeof copy, "%s", path);
  const char *const folder = dirname(copy);
  return access(folder, W_OK | X_OK) ? DX_FAIL(IO, "cannot write %s: its folder %s: %s", path, folder, strerror(errno)) : NULL;
}

static dx_error *look_at_output(const char *path, const char *content)
{
  struct stat s;

  DX_TRY(dx_call_folder(path));
  if (stat(path, &s) || (S_ISREG(s.st_mode) && s.st_size == 0)) return NULL;
  if (S_ISDIR(s.st_mode)) return DX_FAIL(IO, "cannot write %s: it is a folder", path);
  return may_replace(path, content);
}

dx_error *dx_call_output(const dx_call *call, const char *path, const char *content)
{
  if (!call->comm) return look_at_output(path, content);
  return dx_comm_agree(call->comm, dx_comm_rank(call->comm) == 0 ? look_at_output(path, content) : NULL);
}

void dx_call_fresh(const dx_call *call, const char *stem, char *path, size_t room)
{
  int n = 2;

  snprintf(path, room, "%s.h5", stem);
  if (dx_comm_rank(call->comm) == 0)
    while (dx_file_exists(path)) snprintf(path, room, "%s-%d.h5", stem, n++);
  dx_comm_broadcast(call->comm, path, room);
}

/* An experiment file, a record or another file given for a checkpoint. */
static dx_error *no_checkpoint(dx_error *err)
{
  return err && dx_error_code(err) == DX_E_DATA ? dx_error_in(err, "no run folder and no good checkpoint") : err;
}

/* A run's own experiment file tells also what is no part of the answer, such as where the data are;
   a checkpoint that stands elsewhere has its scientific settings alone. */
static dx_error *read_settings(const dx_trained *t, char **settings)
{
  char path[4096], *whole;
  size_t size;

  snprintf(path, sizeof path, "%s/experiment.yaml", t->folder);
  if (!strcmp(t->folder, ".") || !dx_file_exists(path)) return NULL;
  DX_TRY(dx_file_read(path, EXPERIMENT_MOST, &whole, &size));
  free(*settings);
  *settings = whole;
  return NULL;
}

dx_error *dx_trained_read(const dx_call *call, dx_trained *t, char **settings)
{
  dx_checkpoint_head h = {0};

  *t = (dx_trained){0};
  if (call->argc < 1) return DX_FAIL(USAGE, "a run folder or a checkpoint must be given; diffx help tells more");
  find_folder(call->argv[0], t->folder, sizeof t->folder);
  DX_TRY(dx_checkpoint_resolve(call->argv[0], call->log, &t->file));
  DX_TRY(no_checkpoint(dx_checkpoint_open(t->file, &h)));
  t->dataset_hash = h.dataset_hash;
  t->step = h.step;
  t->model = h.model;
  t->lo = h.lo;
  t->hi = h.hi;
  *settings = h.settings;
  h.settings = NULL;
  dx_checkpoint_head_free(&h);
  return read_settings(t, settings);
}

/* Rank 0's vector to all, allocated there.  Collective */
static dx_error *broadcast_vector(const dx_comm *c, float **v, int64_t n)
{
  dx_error *err = NULL;

  if (!*v && !(*v = malloc((size_t)n * sizeof **v + 1))) err = DX_FAIL(INTERNAL, "no memory for the weights");
  DX_TRY(dx_comm_agree(c, err));
  dx_comm_broadcast(c, *v, (size_t)n * sizeof **v);
  return NULL;
}

dx_error *dx_trained_has_shape(const dx_trained *t)
{
  if (t->model.sample.b) return NULL;
  return DX_FAIL(DATA, "%s was written by an older diffx and does not tell the shape of its samples; a step more of its run "
                 "(train.steps) writes one that does", t->file);
}

dx_error *dx_trained_weights(const dx_comm *c, dx_trained *t, const char *name)
{
  const dx_train_config *const train = &dx_experiment_spec(t->experiment)->train;
  const bool lead = !c || dx_comm_rank(c) == 0;
  char own[DX_WEIGHTS_NAME];
  dx_error *err;

  DX_TRY(dx_weights_find(train, name, &t->ema));
  err = lead ? dx_checkpoint_read(t->file, dx_weights_name(train, t->ema, own), &t->w, &t->floats) : NULL;
  if (!c) return err;
  DX_TRY(dx_comm_agree(c, err));
  dx_comm_broadcast(c, &t->floats, sizeof t->floats);
  return broadcast_vector(c, &t->w, t->floats);
}

void dx_call_ema(dx_call *call, char name[DX_WEIGHTS_NAME])
{
  snprintf(name, DX_WEIGHTS_NAME, "raw");
  for (int i = 0; i < call->argc; i++)
    if (!strncmp(call->argv[i], "--ema=", 6)) {
      const char *const value = call->argv[i] + 6;
      const bool whole = !strcmp(value, "raw") || !strncmp(value, "ema", 3);
      char flag[DX_WEIGHTS_NAME + 8];

      snprintf(name, DX_WEIGHTS_NAME, "%s%s", whole ? "" : "ema-", value);
      snprintf(flag, sizeof flag, "%s", call->argv[i]);
      (void)dx_call_flag(call, flag);
      return;
    }
  if (dx_call_flag(call, "--ema")) snprintf(name, DX_WEIGHTS_NAME, "ema");
}

dx_error *dx_trained_ema(const dx_comm *c, dx_trained *t, const char *name)
{
  const dx_train_config *const train = &dx_experiment_spec(t->experiment)->train;
  dx_error *wrong, *err;

  if (strcmp(name, "raw") && dx_averages(train) == 0)
    return DX_FAIL(USAGE, "--ema: %s holds no averaged weights (it was trained with train.ema: 0, or elsewhere)", t->file);
  if (!(wrong = dx_weights_find(train, name, &t->ema))) return dx_trained_weights(c, t, name);
  err = DX_FAIL(USAGE, "--ema %s", dx_error_text(wrong));
  dx_error_free(wrong);
  return err;
}

dx_error *dx_call_trained(const dx_call *call, dx_data_use data, dx_trained *out)
{
  const dx_comm *const c = call->comm;
  char *settings = NULL;
  dx_error *err = NULL;

  *out = (dx_trained){0};
  if (dx_comm_rank(c) == 0) err = dx_trained_read(call, out, &settings);
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  dx_comm_broadcast(c, &out->step, sizeof out->step);
  dx_comm_broadcast(c, &out->model, sizeof out->model);
  dx_comm_broadcast(c, out->folder, sizeof out->folder);
  DX_TRY_GOTO(err, out, dx_comm_broadcast_text(c, &out->file));
  DX_TRY_GOTO(err, out, dx_comm_broadcast_text(c, &settings));
  err = dx_experiment_create(call->argv[0], settings, strlen(settings), call->argv + 1, call->argc - 1,
                             data, &out->experiment);
  err = dx_comm_agree(c, err);
out:
  free(settings);
  if (err) dx_trained_free(out);
  return err;
}

dx_error *dx_trained_compare(const dx_trained *t, const dx_problem *p)
{
  const dx_comm *const c = p->team->comm;
  const bool lead = dx_comm_rank(c) == 0;

  DX_TRY(dx_comm_agree(c, lead ? dx_checkpoint_fits(t->file, t->floats, dx_problem_params(p)) : NULL));
  if (lead && t->dataset_hash && t->dataset_hash != p->info->hash) /* an imported model tells none */
    dx_log_say(p->team->log, DX_LOG_WARN, "the data are not those that %s was trained with", t->file);
  return NULL;
}

dx_error *dx_cmd_sample(const dx_call *call_)
{
  dx_call call = *call_;
  dx_trained t = {0};
  dx_team team = {0};
  dx_problem *p = NULL;
  const char *to;
  char path[4096], words[32];
  double seconds;
  dx_error *err;

  DX_TRY(dx_call_option(&call, "-o", &to));
  DX_TRY_GOTO(err, out, dx_call_trained(&call, DX_DATA_READ, &t));
  const dx_spec *const spec = dx_experiment_spec(t.experiment);

  DX_TRY_GOTO(err, out, dx_trained_weights(call.comm, &t, spec->sample.weights));
  if (to) snprintf(path, sizeof path, "%s", to);
  else {
    char stem[4000];

    snprintf(stem, sizeof stem, "%s/samples/drawn-%08lld", t.folder, (long long)t.step);
    dx_call_fresh(&call, stem, path, sizeof path);
  }
  DX_TRY_GOTO(err, out, dx_team_form(call.comm, call.log, &spec->run, &team));
  DX_TRY_GOTO(err, out, dx_problem_create(&team, spec, &p));
  DX_TRY_GOTO(err, out, dx_trained_compare(&t, p));
  if (to) DX_TRY_GOTO(err, out, dx_call_output(&call, path, "samples"));
  if (!to && dx_comm_rank(call.comm) == 0) {
    char folder[4096];

    snprintf(folder, sizeof folder, "%s/samples", t.folder);
    err = dx_folder_make(folder);
  }
  DX_TRY_GOTO(err, out, dx_comm_agree(call.comm, err));
  DX_TRY_GOTO(err, out, dx_sample(p, t.w, t.step, t.ema, path, NULL, NULL, &seconds));
  dx_log_say(call.log, DX_LOG_INFO, "%lld samples by %s in %s (%.3f s): %s", (long long)spec->sample.count,
             spec->sampler->name, dx_clock_words(seconds, words), seconds, path);
out:
  dx_problem_destroy(p);
  dx_team_part(&team);
  dx_trained_free(&t);
  return err;
}
