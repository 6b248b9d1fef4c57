/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_linear.c - Ho et al. 2020, section 4: beta grows in equal steps.

     beta_t = k (beta_first + (beta_last - beta_first) (t - 1) / (T - 1)),
     k = 1000 / T where scale is on, so that x_T holds the same noise for every T */
#include "diffusion/schedule.h"

#include <math.h>

typedef struct {
  double beta_first, beta_last;
  bool scale;
} config;

static const dx_option options[] = {
  DX_OPTION(config, beta_first, "1e-4", 1e-8, 1,
            "beta of the first step, stated for 1000 steps where process.scale is on"),
  DX_OPTION(config, beta_last, "0.02", 1e-8, 1,
            "beta of the last step, stated for 1000 steps where process.scale is on"),
  DX_OPTION(config, scale, "true", 0, 0, "multiply both betas by 1000 / process.timesteps"),
  DX_OPTION_END
};

/* A scaled beta of 1 or more is a small T, not a wish: say which T would do. */
static dx_error *check(const config *c, int64_t T)
{
  const double k = 1000.0 / (double)T;
  const bool last = c->beta_last >= c->beta_first;
  const double largest = last ? c->beta_last : c->beta_first;

  if (!c->scale || k * largest < 1) return NULL;
  return DX_FAIL(CONFIG,
                 "process.timesteps is %lld: linear's beta_%lld = %g x 1000 / %lld = %.4g; allowed: "
                 "beta below 1, so process.timesteps of at least %.0f with this process.%s, "
                 "or process.scale: false",
                 (long long)T, last ? (long long)T : 1LL, largest, (long long)T, k * largest,
                 floor(1000 * largest) + 1, last ? "beta_last" : "beta_first");
}

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const config *c = config_;
  const double k = c->scale ? 1000.0 / (double)T : 1, first = k * c->beta_first,
               last = k * c->beta_last;

  DX_TRY(check(c, T));
  for (int64_t i = 0; i < T; i++) beta[i] = first + (last - first) * ((double)i / (double)(T - 1));
  return NULL;
}

const dx_schedule dx_schedule_linear = {
  .name = "linear", .help = "beta grows in equal steps (Ho et al. 2020)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
