/* SPDX-License-Identifier: Apache-2.0 */
/* tests/make_process.h - processes to test with. */
#ifndef DX_TESTS_MAKE_PROCESS_H
#define DX_TESTS_MAKE_PROCESS_H
#include "diffusion/process.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Room for the options of anything. */
typedef union { max_align_t align; char bytes[256]; } settings;

/* That of c, with the presets of its schedule. */
static inline dx_error *try_process(const dx_process_config *c, dx_variance variance, dx_process *p)
{
  const dx_schedule *s = dx_schedule_find(c->schedule);
  settings options;

  dx_option_presets(s->options, &options);
  return dx_process_create(c, s, &options, variance, p);
}

/* The same; ends the test where it is refused. */
static inline dx_process make_process(const dx_process_config *c, dx_variance variance)
{
  dx_process p;
  dx_error *e = try_process(c, variance, &p);

  if (!e) return p;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(1);
}

static inline dx_process process_of(const char *schedule, int64_t T, dx_variance variance)
{
  dx_process_config c = {.timesteps = T};

  snprintf(c.schedule, sizeof c.schedule, "%s", schedule);
  return make_process(&c, variance);
}
#endif
