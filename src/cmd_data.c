/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_data.c - diffx data make, diffx data import and diffx data show. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"

/* A data set is much work, and runs are bound to its content: over one that stands there only if that is asked for. */
static dx_error *look_at_output(const dx_call *call, const char *path, bool force)
{
  struct stat s;

  DX_TRY(dx_call_output(call, path, "dataset"));
  if (force || stat(path, &s) || s.st_size == 0) return NULL;
  return DX_FAIL(IO, "%s is a data set that stands there: it is overwritten with --force alone", path);
}

static dx_error *make(const dx_call *call, bool force)
{
  const dx_source *source;
  void *config = NULL;
  dx_comm *alone = NULL;
  dx_error *err;

  if (call->argc < 3 || strchr(call->argv[2], '='))
    return DX_FAIL(USAGE, "usage: diffx data make KIND OUT.h5 [--force] [key=value ...]; diffx list shows the kinds");
  DX_TRY(dx_source_configure(call->argv[1], call->argv + 3, call->argc - 3, &source, &config));
  err = look_at_output(call, call->argv[2], force);
  if (!err) err = dx_comm_start_alone(&alone);
  if (!err) err = dx_dataset_write(call->argv[2], source, config, alone);
  if (!err) dx_log_say(call->log, DX_LOG_INFO, "%s: use it with data.kind: file, data.file: %s", call->argv[2], call->argv[2]);
  dx_comm_stop(alone);
  free(config);
  return err;
}

/* "--size 64" and "--size=64" are other ways to write size=64: as assignments (malloc'd, with *count). */
static dx_error *assignments_of(const dx_call *call, int from, char ***out, int *count)
{
  char **const a = calloc((size_t)call->argc + 1, sizeof *a);

  *out = a;
  *count = 0;
  for (int i = from; a && i < call->argc; i++) {
    const char *const word = call->argv[i];
    const bool dashes = !strncmp(word, "--", 2), two = dashes && !strchr(word, '=') && i + 1 < call->argc;
    const size_t room = strlen(word) + (two ? strlen(call->argv[i + 1]) : 0) + 2;

    if (!(a[*count] = malloc(room))) return DX_FAIL(INTERNAL, "no memory for options");
    snprintf(a[*count], room, "%s%s%s", word + (dashes ? 2 : 0), two ? "=" : "", two ? call->argv[i + 1] : "");
    i += two;
    ++*count;
  }
  return a ? NULL : DX_FAIL(INTERNAL, "no memory for options");
}

/* The command as it was given, for the file. */
static void command(const dx_call *call, char *text, size_t room)
{
  size_t at = (size_t)snprintf(text, room, "diffx data");

  for (int i = 0; i < call->argc && at < room; i++) at += (size_t)snprintf(text + at, room - at, " %s", call->argv[i]);
}

static dx_error *import(const dx_call *call, bool force)
{
  const dx_importer *importer;
  char how[8192], **given = NULL;
  void *config = NULL;
  dx_error *err;
  int count = 0;

  if (call->argc < 4 || strchr(call->argv[3], '=') || !strncmp(call->argv[3], "--", 2))
    return DX_FAIL(USAGE, "usage: diffx data import FORMAT SOURCE OUT.h5 [--force] [key=value ...]; "
                   "diffx list shows the formats");
  err = assignments_of(call, 4, &given, &count);
  if (!err) err = dx_importer_configure(call->argv[1], given, count, &importer, &config);
  if (!err) err = look_at_output(call, call->argv[3], force);
  command(call, how, sizeof how);
  if (!err) err = dx_import_run(importer, config, call->argv[2], call->argv[3], how, call->log);
  if (!err) dx_log_say(call->log, DX_LOG_INFO, "%s: use it with data.kind: file, data.file: %s", call->argv[3], call->argv[3]);
  for (int i = 0; given && i < count; i++) free(given[i]);
  free(given);
  free(config);
  return err;
}

dx_error *dx_cmd_data(const dx_call *call_)
{
  dx_call call = *call_;
  const char *const verb = call.argc > 0 ? call.argv[0] : "";

  if (!strcmp(verb, "make") || !strcmp(verb, "import")) {
    const bool force = dx_call_flag(&call, "--force");

    return *verb == 'm' ? make(&call, force) : import(&call, force);
  }
  if (strcmp(verb, "show"))
    return DX_FAIL(USAGE, "usage: diffx data make KIND OUT.h5 [--force] [key=value ...], diffx data import FORMAT SOURCE OUT.h5 "
                   "[--force] [key=value ...], or diffx data show FILE.h5");
  if (call.argc != 2) return DX_FAIL(USAGE, "diffx data show takes one file: diffx data show FILE.h5");
  return dx_dataset_show(call.argv[1], stdout);
}
