/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule.h - how much noise each step adds. */
#ifndef DX_DIFFUSION_SCHEDULE_H
#define DX_DIFFUSION_SCHEDULE_H
#include "base/error.h"
#include "base/option.h"

/* One per file schedule_NAME.c and line of schedules.def. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  /* beta[i] = beta of step t = i + 1, i = 0..T-1, each in (0, 1]; DX_E_CONFIG with the
     keys by name where the settings give another value.  Local */
  dx_error *(*fill)(const void *config, int64_t T, double *beta);
} dx_schedule;

const dx_schedule *dx_schedule_find(const char *name); /* NULL: no such schedule */
const dx_schedule *dx_schedule_at(int i);              /* in list order; NULL after the last */
#endif
