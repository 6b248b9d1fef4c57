/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/ramp.h - what schedules share that lead from one beta to another. */
#ifndef DX_DIFFUSION_RAMP_H
#define DX_DIFFUSION_RAMP_H
#include "diffusion/schedule.h"

typedef struct {
  double beta_first, beta_last;
  bool scale;
} dx_ramp;
extern const dx_option dx_ramp_options[];

/* Both ends, multiplied by 1000 / T where scale is on; DX_E_CONFIG where one is then 1 or more. */
dx_error *dx_ramp_ends(const dx_ramp *c, const char *schedule, int64_t T, double *first, double *last) DX_MUST_CHECK;
#endif
