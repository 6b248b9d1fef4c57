/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_log_snr.c - Kingma et al. 2021, eq. 3 and appendix C: the log-SNR falls in a line, as in VDM with a
   fixed noise schedule.

     -log-SNR = gamma_t = gamma_first + (gamma_last - gamma_first) (t - 1) / (T - 1)
     abar_t = s(-gamma_t), s(x) = 1 / (1 + e^-x)
     beta_t = 1 - abar_t / abar_{t-1} = -s(gamma_t) expm1(gamma_{t-1} - gamma_t),  beta_1 = s(gamma_1) */
#include "diffusion/schedule.h"

#include "base/math.h"

typedef struct { double gamma_first, gamma_last; } config;

static const dx_option options[] = {
  DX_OPTION(config, gamma_first, "-13.3", -30, 30, "-log(abar / (1 - abar)) of the first step"),
  DX_OPTION(config, gamma_last, "5", -30, 30, "of the last step, above that of the first"),
  DX_OPTION_END
};

static double gamma_of(const config *c, int64_t i, int64_t T)
{
  return c->gamma_first + (c->gamma_last - c->gamma_first) * (double)i / (double)(T - 1);
}

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const config *c = config_;

  if (c->gamma_last <= c->gamma_first)
    return DX_FAIL(CONFIG, "process.gamma_last is %g; allowed: above process.gamma_first (%g), for noise must grow", c->gamma_last,
                   c->gamma_first);
  beta[0] = 1 / (1 + dx_exp(-c->gamma_first));
  for (int64_t i = 1; i < T; i++)
    beta[i] = -dx_expm1(gamma_of(c, i - 1, T) - gamma_of(c, i, T)) / (1 + dx_exp(-gamma_of(c, i, T)));
  return NULL;
}

const dx_schedule dx_schedule_log_snr = {
  .name = "log_snr", .help = "the log-SNR falls in a line (Kingma et al. 2021)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
