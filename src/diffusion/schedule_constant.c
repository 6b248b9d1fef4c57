/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_constant.c - the same beta at every step; the "const" of Ho et al. 2020's program.

     beta_t = k beta,  k = 1000 / T where scale is on */
#include "diffusion/schedule.h"

typedef struct { double beta; bool scale; } config;

static const dx_option options[] = {
  DX_OPTION(config, beta, "0.01", 1e-8, 1, "beta of every step, stated for 1000 steps where process.scale is on"),
  DX_OPTION(config, scale, "true", 0, 0, "multiply beta by 1000 / process.timesteps"),
  DX_OPTION_END
};

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const config *c = config_;
  const double b = c->scale ? 1000.0 / (double)T * c->beta : c->beta;

  if (!(b < 1))
    return DX_FAIL(CONFIG, "process.timesteps is %lld: constant's beta is %.4g; allowed: below 1, so a smaller "
                   "process.beta, more timesteps or process.scale: false", (long long)T, b);
  for (int64_t i = 0; i < T; i++) beta[i] = b;
  return NULL;
}

const dx_schedule dx_schedule_constant = {
  .name = "constant", .help = "the same beta at every step (Ho et al. 2020's program)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
