/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_linear.c - Ho et al. 2020, section 4: beta grows in equal steps.

     beta_t = k (beta_first + (beta_last - beta_first) (t - 1) / (T - 1)),
     k = 1000 / T where scale is on, so that x_T holds the same noise for every T */
#include "diffusion/ramp.h"

static dx_error *fill(const void *config, int64_t T, double *beta)
{
  double first, last;

  DX_TRY(dx_ramp_ends(config, "linear", T, &first, &last));
  for (int64_t i = 0; i < T; i++) beta[i] = first + (last - first) * ((double)i / (double)(T - 1));
  return NULL;
}

const dx_schedule dx_schedule_linear = {
  .name = "linear", .help = "beta grows in equal steps (Ho et al. 2020)",
  .options = dx_ramp_options, .config_size = sizeof(dx_ramp), .fill = fill,
};
