/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status.c - diffx status RUN: how far a run is, from its files alone. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "commands.h"
#include "config/config.h"
#include "io/file.h"
#include "io/h5.h"

/* train.steps of the settings in the record; -1 where they cannot be read. */
static double steps_of(dx_h5 *f)
{
  char *settings = NULL;
  dx_keys *keys = NULL;
  double steps = -1;
  dx_error *err = dx_h5_get_text(f, "/", "experiment", &settings);

  if (!err) err = dx_keys_parse("metrics.h5", settings, strlen(settings), &keys);
  if (!err && dx_keys_text(keys, "train.steps")) steps = strtod(dx_keys_text(keys, "train.steps"), NULL);
  dx_error_free(err);
  dx_keys_destroy(keys);
  free(settings);
  return steps;
}

/* One that is whole: what is being written has another ending. */
static bool is_checkpoint(const char *name)
{
  const size_t length = strlen(name);

  return !strncmp(name, "step-", 5) && length > 8 && !strcmp(name + length - 3, ".h5");
}

/* The number in the name grows longer after eight digits. */
static bool newer(const char *a, const char *b)
{
  return strlen(a) != strlen(b) ? strlen(a) > strlen(b) : strcmp(a, b) > 0;
}

static void find_newest_checkpoint(const char *run, char newest[256])
{
  char folder[4096];
  DIR *d;

  snprintf(newest, 256, "none");
  snprintf(folder, sizeof folder, "%s/checkpoints", run);
  if ((d = opendir(folder))) {
    for (struct dirent *e; (e = readdir(d));)
      if (is_checkpoint(e->d_name) && (!strcmp(newest, "none") || newer(e->d_name, newest)))
        snprintf(newest, 256, "%s", e->d_name);
    closedir(d);
  }
}

/* The step that is known to be reached: of the last row, or of a checkpoint between two rows, which a stop
   makes; NAN before both. */
static double step_of(dx_h5 *f, const char *checkpoint)
{
  const double row = dx_h5_last(f, "/train/step");
  const double saved = strcmp(checkpoint, "none") ? strtod(checkpoint + strlen("step-"), NULL) : NAN;

  return fmax(row, saved); /* of a number and NAN the number */
}

/* Steps per second since the session began, with its evaluations and checkpoints; NAN without a row. */
static double speed_of(dx_h5 *f)
{
  const double done = dx_h5_last(f, "/train/step") - dx_h5_last(f, "/provenance/session_step");

  return done > 0 ? done / dx_h5_last(f, "/timing/seconds") : NAN;
}

static void print_owner(const char *run)
{
  char words[2048];
  const dx_lock_state state = dx_lock_look(run, words, sizeof words);

  printf("at work     %s%s\n", state == DX_LOCK_STALE ? "nobody; last was " : "", words);
}

dx_error *dx_cmd_status(const dx_call *call)
{
  char path[4096], words[32], newest[256];
  struct stat s;
  dx_h5 *f;

  if (call->argc != 1) return DX_FAIL(USAGE, "diffx status takes one run folder: diffx status RUN");
  snprintf(path, sizeof path, "%s/metrics.h5", call->argv[0]);
  if (stat(path, &s)) return DX_FAIL(IO, "%s is no run folder: there is no metrics.h5 in it", call->argv[0]);
  DX_TRY(dx_h5_open(path, &f));
  find_newest_checkpoint(call->argv[0], newest);
  const double step = step_of(f, newest), steps = steps_of(f), rate = speed_of(f);
  int64_t batch = 0;
  dx_error *err = dx_h5_get_int(f, "/", "examples_per_step", &batch);

  if (isnan(step)) printf("step        none logged yet, of %.0f\n", steps);
  else printf("step        %.0f of %.0f (%.1f%%)\n", step, steps, steps > 0 ? 100 * step / steps : 100);
  if (!isnan(dx_h5_last(f, "/train/loss"))) printf("loss        %.6f\n", dx_h5_last(f, "/train/loss"));
  if (!isnan(rate) && rate > 0) {
    printf("speed       %.0f examples/s, %.3g steps/s\n", rate * (double)batch, rate);
    printf("time left   %s\n", dx_clock_words((steps - step) / rate, words));
  }
  if (!isnan(dx_h5_last(f, "/kl/total_bits")))
    printf("bound       %.4f +- %.4f bits/dim at step %.0f\n", dx_h5_last(f, "/kl/total_bits"),
           dx_h5_last(f, "/kl/total_stderr_bits"), dx_h5_last(f, "/kl/step"));
  printf("checkpoint  %s\n", newest);
  printf("record      %s old\n", dx_clock_words(difftime(time(NULL), s.st_mtime), words));
  print_owner(call->argv[0]);
  dx_h5_close(f);
  return err;
}
