/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.c - see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

double dx_clock(void)
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *dx_clock_words(double seconds, char text[32])
{
  const long s = seconds > 0 && seconds < 1e12 ? (long)(seconds + 0.5) : 0;

  if (s < 10) snprintf(text, 32, "%.1f s", seconds > 0 && seconds < 1e12 ? seconds : 0.0);
  else if (s < 60) snprintf(text, 32, "%ld s", s);
  else if (s < 3600) snprintf(text, 32, "%ld min %02ld s", s / 60, s % 60);
  else snprintf(text, 32, "%ld h %02ld min", s / 3600, s / 60 % 60);
  return text;
}

char *dx_clock_now(char text[32])
{
  const time_t now = time(NULL);
  struct tm utc;

  gmtime_r(&now, &utc);
  strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}
