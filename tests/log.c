/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - what is said before there is a file stands in it first, whole lines only. */
#include "base/log.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

/* What a file gets that is opened now; then it is closed. */
static char *taken(dx_logger *log, const char *more)
{
  char *text = NULL;
  size_t size;
  FILE *const file = open_memstream(&text, &size);

  if (!file) exit(99);
  dx_log_into(log, file);
  if (*more) dx_log_say(log, DX_LOG_INFO, "%s", more);
  dx_log_into(log, NULL);
  fclose(file);
  return text;
}

static int gives(dx_logger *log, const char *more, const char *wanted)
{
  char *const text = taken(log, more);
  const int good = !strcmp(text, wanted);

  if (!good) printf("# %zu characters, wanted %zu:\n# %.300s\n", strlen(text), strlen(wanted), text);
  free(text);
  return good;
}

int main(void)
{
  static const char lost[] = "(more was said before this file was there)\n";
  dx_logger log = {.level = DX_LOG_INFO};
  char line[sizeof log.early], wanted[2 * sizeof log.early];

  ok(gives(&log, "", ""), "nothing was said");
  dx_log_say(&log, DX_LOG_WARN, "%d and %s", 1, "two");
  dx_log_say(&log, DX_LOG_DEBUG, "not at this level");
  dx_log_say(&log, DX_LOG_INFO, "three");
  ok(gives(&log, "now", "diffx: warning: 1 and two\nthree\nnow\n"), "early lines come first");
  ok(gives(&log, "", ""), "and once");

  /* exactly as much as there is room for, with the newline; one more is lost */
  memset(line, 'x', sizeof line);
  line[sizeof line - 1] = '\0';
  dx_log_say(&log, DX_LOG_INFO, "%s", line);
  snprintf(wanted, sizeof wanted, "%s\n", line);
  ok(gives(&log, "", wanted), "a line that fills the room");
  dx_log_say(&log, DX_LOG_INFO, "short");
  dx_log_say(&log, DX_LOG_INFO, "%s", line);
  dx_log_say(&log, DX_LOG_INFO, "would have room");
  snprintf(wanted, sizeof wanted, "short\n%sthen\n", lost);
  ok(gives(&log, "then", wanted), "a line without room is told, and those after it are not kept");
  line[sizeof line - 10] = '\0';
  dx_log_say(&log, DX_LOG_INFO, "%s", line);
  dx_log_say(&log, DX_LOG_WARN, "the prefix alone has no room");
  snprintf(wanted, sizeof wanted, "%s\n%s", line, lost);
  ok(gives(&log, "", wanted), "nor has one whose prefix has none");
  return done();
}
