/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.c - errors as values: a code and a text. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dx_error {
  dx_code code;
  char *text; /* points to room */
  char room[];
};

/* What is returned when there is no memory left to say anything else. */
static char no_memory_text[] = "out of memory while reporting an error";
static dx_error no_memory = {.code = DX_E_INTERNAL, .text = no_memory_text};

static dx_error *error_new(dx_code code, size_t length)
{
  dx_error *e = malloc(sizeof *e + length + 1);

  if (!e) return &no_memory;
  e->code = code;
  e->text = e->room;
  e->text[length] = '\0';
  return e;
}

dx_error *dx_error_make(dx_code code, const char *file, int line, const char *fmt, ...)
{
  va_list ap;
  char where[128] = "";
  dx_error *e;
  int n;

#ifdef DX_DEBUG
  snprintf(where, sizeof where, " [%s:%d]", file, line);
#else
  if (code == DX_E_INTERNAL) snprintf(where, sizeof where, " [%s:%d]", file, line);
#endif
  va_start(ap, fmt);
  n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  if (n < 0) return &no_memory;
  e = error_new(code, (size_t)n + strlen(where));
  if (e == &no_memory) return e;
  va_start(ap, fmt);
  vsnprintf(e->text, (size_t)n + 1, fmt, ap);
  va_end(ap);
  memcpy(e->text + n, where, strlen(where) + 1);
  return e;
}

dx_error *dx_error_copy(dx_code code, const char *text)
{
  dx_error *e = error_new(code, strlen(text));

  if (e != &no_memory) memcpy(e->text, text, strlen(text) + 1);
  return e;
}

dx_error *dx_error_in(dx_error *e, const char *fmt, ...)
{
  char context[512];
  va_list ap;
  dx_error *longer;
  size_t n;

  if (!e || e == &no_memory) return e;
  va_start(ap, fmt);
  vsnprintf(context, sizeof context - 2, fmt, ap);
  va_end(ap);
  n = strlen(context);
  memcpy(context + n, ": ", 3);
  longer = error_new(e->code, n + 2 + strlen(e->text));
  if (longer != &no_memory) {
    memcpy(longer->text, context, n + 2);
    memcpy(longer->text + n + 2, e->text, strlen(e->text) + 1);
  }
  dx_error_free(e);
  return longer;
}

void dx_error_free(dx_error *e)
{
  if (e != &no_memory) free(e);
}

dx_code dx_error_code(const dx_error *e) { return e->code; }
const char *dx_error_text(const dx_error *e) { return e->text; }
