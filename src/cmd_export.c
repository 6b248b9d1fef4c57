/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_export.c - diffx export-samples RUN|SAMPLES.h5 OUT.npz|FOLDER/. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "train/export.h"

static bool ends_in(const char *text, const char *end)
{
  const size_t n = strlen(text), m = strlen(end);

  return n > m && !strcmp(text + n - m, end);
}

static bool is_folder(const char *path)
{
  struct stat s;

  return !stat(path, &s) && S_ISDIR(s.st_mode);
}

static dx_error *look_at_npz(const char *path, bool force)
{
  struct stat s;

  DX_TRY(dx_call_folder(path));
  if (stat(path, &s) || (S_ISREG(s.st_mode) && force)) return NULL;
  if (!S_ISREG(s.st_mode)) return DX_FAIL(IO, "cannot write %s: it is no plain file", path);
  return DX_FAIL(IO, "%s stands there: it is overwritten with --force alone", path);
}

dx_error *dx_cmd_export_samples(const dx_call *call_)
{
  dx_call call = *call_;
  const bool force = dx_call_flag(&call, "--force");
  char *samples = NULL;
  dx_error *err;

  if (call.argc != 2) return DX_FAIL(USAGE, "usage: diffx export-samples RUN|SAMPLES.h5 OUT.npz|FOLDER/ [--force]");
  const char *const to = call.argv[1];
  const bool npz = ends_in(to, ".npz"), folder = !npz && (ends_in(to, "/") || is_folder(to));
  if (!npz && !folder)
    return DX_FAIL(USAGE, "%s is neither a file NAME.npz nor, with a slash at its end, a FOLDER/ for PNG files", to);
  if (folder && force) return DX_FAIL(USAGE, "--force is for NAME.npz; a folder of pictures must be new or empty");
  DX_TRY(dx_samples_resolve(call.argv[0], &samples));
  err = npz ? look_at_npz(to, force) : NULL;
  if (!err) err = npz ? dx_export_npz(samples, to, call.log) : dx_export_png(samples, to, call.log);
  free(samples);
  return err;
}
