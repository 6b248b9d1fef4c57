/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.c - see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"

static const double progress_seconds = 0.1;

static const char *const prefix[] = {"diffx: error: ", "diffx: warning: ", "", "debug: "};

/* A line for the file that is still to come, whole or not at all; after one that found no room none is kept. */
static void keep(dx_logger *log, dx_log_level level, const char *fmt, va_list ap)
{
  char *const at = log->early + log->early_used;
  const size_t room = sizeof log->early - log->early_used, before = strlen(prefix[level]);

  if (log->early_lost) return;
  const int n = before < room ? vsnprintf(at + before, room - before, fmt, ap) : -1;
  if (n < 0 || before + (size_t)n + 1 > room) {
    log->early_lost = true;
    return;
  }
  memcpy(at, prefix[level], before);
  at[before + (size_t)n] = '\n';
  log->early_used += before + (size_t)n + 1;
}

void dx_log_into(dx_logger *log, FILE *file)
{
  log->file = file;
  if (!file) return;
  fwrite(log->early, 1, log->early_used, file);
  if (log->early_lost) fputs("(more was said before this file was there)\n", file);
  fflush(file);
  log->early_used = 0;
  log->early_lost = false;
}

void dx_log_say(dx_logger *log, dx_log_level level, const char *fmt, ...)
{
  FILE *to[2] = {log->screen, log->file};
  va_list ap;

  if (level > log->level) return;
  if (log->line_open && log->screen) fputs("\r\033[K", log->screen);
  log->line_open = false;
  if (!log->file) {
    va_start(ap, fmt);
    keep(log, level, fmt, ap);
    va_end(ap);
  }
  for (int i = 0; i < 2; i++) {
    if (!to[i]) continue;
    fputs(prefix[level], to[i]);
    va_start(ap, fmt);
    vfprintf(to[i], fmt, ap);
    va_end(ap);
    fputc('\n', to[i]);
    fflush(to[i]);
  }
}

void dx_log_progress(dx_logger *log, const char *fmt, ...)
{
  va_list ap;

  if (!log->terminal || !log->screen || dx_clock() - log->drawn < progress_seconds) return;
  log->drawn = dx_clock();
  fputs("\r\033[K", log->screen);
  va_start(ap, fmt);
  vfprintf(log->screen, fmt, ap);
  va_end(ap);
  fflush(log->screen);
  log->line_open = true;
}
