/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/ramp.c - see ramp.h. */
#include "diffusion/ramp.h"

#include <math.h>

const dx_option dx_ramp_options[] = {
  DX_OPTION(dx_ramp, beta_first, "1e-4", 1e-8, 1,
            "beta of the first step, stated for 1000 steps where process.scale is on"),
  DX_OPTION(dx_ramp, beta_last, "0.02", 1e-8, 1,
            "beta of the last step, stated for 1000 steps where process.scale is on"),
  DX_OPTION(dx_ramp, scale, "true", 0, 0, "multiply both betas by 1000 / process.timesteps"),
  DX_OPTION_END
};

/* A scaled beta of 1 or more is a small T, not a wish: say which T would do. */
static dx_error *check(const dx_ramp *c, const char *schedule, int64_t T)
{
  const double k = 1000.0 / (double)T;
  const bool last = c->beta_last >= c->beta_first;
  const double largest = last ? c->beta_last : c->beta_first;

  if (!c->scale || k * largest < 1) return NULL;
  return DX_FAIL(CONFIG,
                 "process.timesteps is %lld: %s's beta_%lld = %g x 1000 / %lld = %.4g; allowed: "
                 "beta below 1, so process.timesteps of at least %.0f with this process.%s, "
                 "or process.scale: false",
                 (long long)T, schedule, last ? (long long)T : 1LL, largest, (long long)T, k * largest,
                 floor(1000 * largest) + 1, last ? "beta_last" : "beta_first");
}

dx_error *dx_ramp_ends(const dx_ramp *c, const char *schedule, int64_t T, double *first, double *last)
{
  const double k = c->scale ? 1000.0 / (double)T : 1;

  DX_TRY(check(c, schedule, T));
  *first = k * c->beta_first;
  *last = k * c->beta_last;
  return NULL;
}
