/* SPDX-License-Identifier: Apache-2.0 */
/* tests/errors.h - errors as tests judge them, and paths of a test's own files. */
#ifndef DX_TESTS_ERRORS_H
#define DX_TESTS_ERRORS_H
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Whether e has that code and those words; frees it. */
static inline int fails(dx_error *e, dx_code code, const char *words)
{
  const int good = e && dx_error_code(e) == code && strstr(dx_error_text(e), words);

  if (!good) printf("# got: %s\n", e ? dx_error_text(e) : "no error");
  dx_error_free(e);
  return good;
}

/* Whether there is none; frees it. */
static inline int fine(dx_error *e)
{
  if (e) printf("# got: %s\n", dx_error_text(e));
  dx_error_free(e);
  return !e;
}

/* DIR/NAME, until the fourth call after this one. */
static inline const char *path_in(const char *dir, const char *name)
{
  static char path[4][256];
  static int next;
  char *const p = path[next++ % 4];

  snprintf(p, sizeof path[0], "%s/%s", dir, name);
  return p;
}
#endif
