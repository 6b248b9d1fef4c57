/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_cosine.c - Nichol & Dhariwal 2021, eq. 17: slow start, slow end.

     f(u) = cos^2((u + s) / (1 + s) pi / 2),  s = 0.008
     beta_t = min(1 - f(t / T) / f((t - 1) / T), 0.999)

   With d = pi / 2 / ((1 + s) T) and j = T - t + 1 steps left, f((t - 1) / T) = sin^2(j d) and

     beta_t = min(sin(d) sin((2 j - 1) d) / sin^2(j d), 0.999),

   which loses no digits where beta is small or f is. */
#include "diffusion/schedule.h"

#include "base/math.h"

static const dx_option options[] = { DX_OPTION_END }; /* it has none */

static const double offset = 0.008, limit = 0.999;

static double sine(double x)
{
  double s, c;

  dx_sincos(x, &s, &c);
  return s;
}

static dx_error *fill(const void *config, int64_t T, double *beta)
{
  const double d = DX_PI / 2 / ((1 + offset) * (double)T);

  (void)config;
  for (int64_t i = 0; i < T; i++) {
    const double left = (double)(T - i), f = sine(left * d);
    const double b = sine(d) * sine((2 * left - 1) * d) / (f * f);

    beta[i] = b < limit ? b : limit;
  }
  return NULL;
}

const dx_schedule dx_schedule_cosine = {
  .name = "cosine", .help = "slow start and slow end (Nichol and Dhariwal 2021); x_T keeps so little of x_0 that without a declared range the terms near t = T are large",
  .options = options, .config_size = 0, .fill = fill,
};
