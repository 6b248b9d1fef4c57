/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_compare.c - diffx compare RUN_A RUN_B: the groups that equal experiments must have equal,
   compared on raw bytes (so 0 and -0 differ, and NaN equals itself). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "io/h5.h"

static const char *const groups[] = {"train", "train_by_t", "kl", "process"};

/* RUN/metrics.h5, or a record file by itself. */
static dx_error *open_record(const char *path, dx_h5 **out)
{
  char file[4096];
  struct stat s;
  dx_error *err;

  snprintf(file, sizeof file, "%s%s", path, !stat(path, &s) && S_ISDIR(s.st_mode) ? "/metrics.h5" : "");
  DX_TRY(dx_h5_open(file, out));
  err = dx_h5_expect(*out, "record");
  if (err) {
    dx_h5_close(*out);
    *out = NULL;
  }
  return err;
}

static size_t bytes_of(const dx_h5_info *i)
{
  size_t n = i->type == DX_H5_U8 ? 1 : i->type == DX_H5_I32 || i->type == DX_H5_F32 ? 4 : 8;

  for (int d = 0; d < i->rank; d++) n *= (size_t)i->dim[d];
  return n;
}

static bool same_info(const dx_h5_info *a, const dx_h5_info *b)
{
  if (a->type != b->type || a->rank != b->rank) return false;
  for (int d = 0; d < a->rank; d++)
    if (a->dim[d] != b->dim[d]) return false;
  return true;
}

static void print_info(const dx_h5_info *i)
{
  printf("[");
  for (int d = 0; d < i->rank; d++) printf(d ? ", %lld" : "%lld", (long long)i->dim[d]);
  printf("]%s", i->rank == 0 ? " (one value)" : "");
}

/* One dataset of both: prints the first difference and adds it to *differ. */
static dx_error *compare_dataset(dx_h5 *a, dx_h5 *b, const char *path, int *differ)
{
  dx_h5_info ia, ib;
  unsigned char *x = NULL, *y = NULL;
  dx_error *err = NULL;

  DX_TRY(dx_h5_look(a, path, &ia));
  if (!dx_h5_has(b, path)) {
    printf("%s: only in the first\n", path);
    ++*differ;
    return NULL;
  }
  DX_TRY(dx_h5_look(b, path, &ib));
  if (!same_info(&ia, &ib)) {
    printf("%s: ", path);
    print_info(&ia);
    printf(" in the first, ");
    print_info(&ib);
    printf(" in the second\n");
    ++*differ;
    return NULL;
  }
  const size_t n = bytes_of(&ia), row = ia.rank && ia.dim[0] ? n / (size_t)ia.dim[0] : n;
  x = malloc(n + 1);
  y = malloc(n + 1);
  if (!x || !y) err = DX_FAIL(INTERNAL, "no memory to compare %s", path);
  if (!err) err = dx_h5_read(a, path, ia.type, x);
  if (!err) err = dx_h5_read(b, path, ib.type, y);
  for (size_t i = 0; !err && i < n; i++)
    if (x[i] != y[i]) {
      printf("%s: differs first in row %zu\n", path, i / row);
      ++*differ;
      break;
    }
  free(x);
  free(y);
  return err;
}

static dx_error *compare_group(dx_h5 *a, dx_h5 *b, const char *group, int *differ, int *compared)
{
  char **names = NULL, **theirs = NULL, path[512];
  int n = 0, m = 0;
  dx_error *err = NULL;

  if (!dx_h5_has(a, group) && !dx_h5_has(b, group)) return NULL;
  DX_TRY_GOTO(err, out, dx_h5_list(a, group, &names, &n));
  DX_TRY_GOTO(err, out, dx_h5_list(b, group, &theirs, &m));
  for (int i = 0; i < m; i++) {
    snprintf(path, sizeof path, "%s/%s", group, theirs[i]);
    if (dx_h5_has(a, path)) continue;
    printf("%s: only in the second\n", path);
    ++*differ;
    ++*compared;
  }
  for (int i = 0; i < n; i++) {
    snprintf(path, sizeof path, "%s/%s", group, names[i]);
    DX_TRY_GOTO(err, out, compare_dataset(a, b, path, differ));
    ++*compared;
  }
out:
  dx_h5_names_free(names, n);
  dx_h5_names_free(theirs, m);
  return err;
}

dx_error *dx_cmd_compare(const dx_call *call)
{
  dx_h5 *a = NULL, *b = NULL;
  int differ = 0, compared = 0;
  dx_error *err;

  if (call->argc != 2) return DX_FAIL(USAGE, "diffx compare takes two run folders: diffx compare RUN_A RUN_B");
  DX_TRY_GOTO(err, out, open_record(call->argv[0], &a));
  DX_TRY_GOTO(err, out, open_record(call->argv[1], &b));
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
    DX_TRY_GOTO(err, out, compare_group(a, b, groups[g], &differ, &compared));
  if (differ) err = DX_FAIL(DATA, "%s and %s differ in %d of %d datasets", call->argv[0], call->argv[1], differ, compared);
  else printf("equal: %d datasets, bit for bit\n", compared);
out:
  dx_h5_close(a);
  dx_h5_close(b);
  return err;
}
