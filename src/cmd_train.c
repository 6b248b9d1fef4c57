/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_train.c - diffx [train] EXPERIMENT.yaml, and --dry-run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "io/file.h"
#include "train/run.h"

enum { EXPERIMENT_MOST = 1 << 20, RANKS_MOST = 1 << 20 };

bool dx_call_flag(dx_call *call, const char *name)
{
  for (int i = 0; i < call->argc; i++)
    if (!strcmp(call->argv[i], name)) {
      memmove(call->argv + i, call->argv + i + 1, (size_t)(call->argc - i - 1) * sizeof *call->argv);
      call->argc--;
      return true;
    }
  return false;
}

dx_error *dx_call_option(dx_call *call, const char *name, const char **value)
{
  *value = NULL;
  for (int i = 0; i < call->argc; i++) {
    if (strcmp(call->argv[i], name)) continue;
    if (i + 1 == call->argc) return DX_FAIL(USAGE, "%s needs a value", name);
    *value = call->argv[i + 1];
    memmove(call->argv + i, call->argv + i + 2, (size_t)(call->argc - i - 2) * sizeof *call->argv);
    call->argc -= 2;
    return NULL;
  }
  return NULL;
}

const char *dx_nearest_command(const char *word)
{
  const char *nearest = NULL;
  int best = 0;

  for (const dx_command *c = dx_commands; c->name; c++) {
    const int d = dx_text_near(word, c->name);

    if (d < 0 || (nearest && d >= best)) continue;
    best = d;
    nearest = c->name;
  }
  return nearest;
}

/* Rank 0: the text of an experiment, or what was given in its place. */
static dx_error *read_experiment(const char *path, char **text, size_t *size)
{
  const char *const nearest = strpbrk(path, "./") ? NULL : dx_nearest_command(path);
  char inside[4096];
  struct stat s;

  if (stat(path, &s) && !strpbrk(path, "./"))
    return DX_FAIL(USAGE, "%s is neither a command nor an experiment file%s%s%s", path,
                   nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
  snprintf(inside, sizeof inside, "%s/experiment.yaml", path);
  if (!stat(path, &s) && S_ISDIR(s.st_mode) && !stat(inside, &s))
    return DX_FAIL(USAGE, "%s is a run folder, not an experiment file; diffx %s goes on with that run", path, inside);
  return dx_file_read(path, EXPERIMENT_MOST, text, size);
}

dx_error *dx_call_experiment(const dx_call *call, dx_experiment **out)
{
  char *text = NULL;
  size_t size = 0;
  dx_error *err = NULL;

  if (call->argc < 1 || call->argv[0][0] == '-')
    return DX_FAIL(USAGE, "%s%susage: diffx EXPERIMENT.yaml [key=value ...]; diffx help tells more",
                   call->argc ? call->argv[0] : "", call->argc ? " is not known; " : "");
  if (dx_comm_rank(call->comm) == 0) err = read_experiment(call->argv[0], &text, &size);
  DX_TRY_GOTO(err, out, dx_comm_agree(call->comm, err));
  dx_comm_broadcast(call->comm, &size, sizeof size);
  if (!text) text = malloc(size + 1);
  err = text ? NULL : DX_FAIL(INTERNAL, "no memory for an experiment of %zu bytes", size);
  DX_TRY_GOTO(err, out, dx_comm_agree(call->comm, err));
  dx_comm_broadcast(call->comm, text, size);
  text[size] = '\0';
  err = dx_comm_agree(call->comm, dx_experiment_create(call->argv[0], text, size, call->argv + 1, call->argc - 1, DX_DATA_READ, out));
out:
  free(text);
  return err;
}

static void set_level(dx_logger *log, const char *name)
{
  static const char *const names[] = {"error", "warn", "info", "debug"};

  for (int i = 0; i < 4 && log->level > DX_LOG_WARN; i++)
    if (!strcmp(name, names[i])) log->level = (dx_log_level)i;
}

dx_error *dx_cmd_train(const dx_call *call)
{
  dx_experiment *e = NULL;
  dx_team team = {0};
  dx_error *err;

  DX_TRY_GOTO(err, out, dx_call_experiment(call, &e));
  set_level(call->log, dx_experiment_spec(e)->run.log);
  DX_TRY_GOTO(err, out, dx_team_form(call->comm, call->log, &dx_experiment_spec(e)->run, &team));
  err = dx_run_train(&team, dx_experiment_spec(e));
out:
  dx_team_part(&team);
  dx_experiment_destroy(e);
  return err;
}

static dx_error *read_ranks(const char *text, int *ranks)
{
  char *end;
  const long n = strtol(text, &end, 10);

  if (end == text || *end || n < 1 || n > RANKS_MOST)
    return DX_FAIL(USAGE, "--ranks is %s; allowed: a whole number from 1 to %d", text, RANKS_MOST);
  *ranks = (int)n;
  return NULL;
}

dx_error *dx_cmd_plan(const dx_call *call_)
{
  dx_call call = *call_;
  dx_comm *alone = NULL;
  dx_experiment *e = NULL;
  dx_team team = {0};
  const char *text;
  int ranks, rank;
  dx_error *err;

  dx_comm_launched(&ranks, &rank);
  DX_TRY(dx_call_option(&call, "--ranks", &text));
  if (text) DX_TRY(read_ranks(text, &ranks));
  DX_TRY(dx_comm_start_alone(&alone));
  call.comm = alone;
  DX_TRY_GOTO(err, out, dx_call_experiment(&call, &e));
  DX_TRY_GOTO(err, out, dx_team_form(alone, call.log, &dx_experiment_spec(e)->run, &team));
  err = dx_run_plan(&team, dx_experiment_spec(e), ranks, stdout);
out:
  dx_team_part(&team);
  dx_experiment_destroy(e);
  dx_comm_stop(alone);
  return err;
}
