/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_jsd.c - Sohl-Dickstein et al. 2015, section 2.4.1: an equal share of x_0 goes at each step.

     beta_t = 1 / (T - t + 1), so abar_t = 1 - t / T and beta_T = 1: x_T keeps nothing of x_0 */
#include "diffusion/schedule.h"

static const dx_option options[] = { DX_OPTION_END }; /* it has none */

static dx_error *fill(const void *config, int64_t T, double *beta)
{
  (void)config;
  for (int64_t i = 0; i < T; i++) beta[i] = 1 / (double)(T - i);
  return NULL;
}

const dx_schedule dx_schedule_jsd = {
  .name = "jsd", .help = "abar falls in equal steps to 0 (Sohl-Dickstein et al. 2015); needs objective.predict x0 or v",
  .options = options, .config_size = 0, .fill = fill,
};
