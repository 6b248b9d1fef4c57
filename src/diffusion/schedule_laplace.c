/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_laplace.c - Hang et al. 2024, table 1: log-SNR is spread as a Laplace distribution.

     u_t = (t - 1/2) / T,  lambda(u) = mu - b sgn(1/2 - u) log(1 - 2 |u - 1/2|)
     abar_t = s(lambda_t), s(x) = 1 / (1 + e^-x)
     beta_t = 1 - abar_t / abar_{t-1} = -s(-lambda_t) expm1(lambda_t - lambda_{t-1}),  beta_1 = s(-lambda_1)

   The times are the middles of T equal parts, since lambda is infinite at both ends. */
#include "diffusion/schedule.h"

#include "base/math.h"

typedef struct { double mu, b; } config;

static const dx_option options[] = {
  DX_OPTION(config, mu, "0", -20, 20, "middle of the log-SNR, log(abar / (1 - abar))"),
  DX_OPTION(config, b, "0.5", 0.01, 20, "its mean distance from the middle"),
  DX_OPTION_END
};

/* lambda of step t = i + 1. */
static double log_snr(const config *c, int64_t i, int64_t T)
{
  const double twice = (double)(2 * i + 1) / (double)T; /* 2 u */

  return twice < 1 ? c->mu - c->b * dx_log(twice) : c->mu + c->b * dx_log(2 - twice);
}

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const config *c = config_;
  double before = log_snr(c, 0, T);

  beta[0] = 1 / (1 + dx_exp(before));
  for (int64_t i = 1; i < T; i++) {
    const double now = log_snr(c, i, T);

    beta[i] = -dx_expm1(now - before) / (1 + dx_exp(now));
    before = now;
  }
  return NULL;
}

const dx_schedule dx_schedule_laplace = {
  .name = "laplace", .help = "most steps where the log-SNR is near a middle (Hang et al. 2024)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
