/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_quadratic.c - sqrt(beta) grows in equal steps; the "quad" of Ho et al. 2020's program.

     beta_t = k (sqrt(beta_first) + (sqrt(beta_last) - sqrt(beta_first)) (t - 1) / (T - 1))^2,
     k = 1000 / T where scale is on */
#include "diffusion/ramp.h"

#include <math.h>

static dx_error *fill(const void *config, int64_t T, double *beta)
{
  double first, last;

  DX_TRY(dx_ramp_ends(config, "quadratic", T, &first, &last));
  first = sqrt(first);
  last = sqrt(last);
  for (int64_t i = 0; i < T; i++) {
    const double root = first + (last - first) * ((double)i / (double)(T - 1));

    beta[i] = root * root;
  }
  return NULL;
}

const dx_schedule dx_schedule_quadratic = {
  .name = "quadratic", .help = "the square root of beta grows in equal steps (Ho et al. 2020's program)",
  .options = dx_ramp_options, .config_size = sizeof(dx_ramp), .fill = fill,
};
