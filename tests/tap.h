/* SPDX-License-Identifier: Apache-2.0 */
/* tests/tap.h - the whole test framework. */
#ifndef DX_TESTS_TAP_H
#define DX_TESTS_TAP_H
#include <stdio.h>

static int tap_run, tap_bad;

/* Line by line, so that what was found before a crash is not lost. */
#define ok(cond, ...)                                                       \
  do {                                                                      \
    int good_ = (cond);                                                     \
    if (tap_run == 0) setvbuf(stdout, NULL, _IOLBF, 0);                     \
    tap_bad += !good_;                                                      \
    printf("%sok %d - ", good_ ? "" : "not ", ++tap_run);                   \
    printf(__VA_ARGS__);                                                    \
    printf("\n");                                                           \
    if (!good_) printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);         \
  } while (0)

static inline int done(void)
{
  printf("1..%d\n", tap_run);
  return tap_bad != 0;
}
#endif
