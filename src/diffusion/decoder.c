/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/decoder.c - the discretised Gaussian of 8-bit data; Ho et al. 2020, eq. 13.

   As improved-diffusion computes it, so that bits per dimension can be compared:
   P(v) = F(v + 1/2) - F(v - 1/2), F(z) = (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2. */
#include "diffusion/process.h"

#include <assert.h>
#include <math.h>

#include "base/math.h"

static const double root_2_by_pi = 0.7978845608028654, least = 1e-12, half = 1. / 255;

/* The distribution function of a standard normal. */
static double below(double z) { return 0.5 * (1 + dx_tanh(root_2_by_pi * (z + 0.044715 * (z * z * z)))); }

/* Its derivative. */
static double density(double z)
{
  const double y = dx_tanh(root_2_by_pi * (z + 0.044715 * (z * z * z)));

  return 0.5 * (1 - y * y) * root_2_by_pi * (1 + 3 * 0.044715 * (z * z));
}

static double log_of(double share) { return dx_log(share > least ? share : least); }

static double byte_number(double log_var, double x0, double x0hat, double *by_x0, double *by_log)
{
  const double by_sigma = dx_exp(-0.5 * log_var), off = x0 - x0hat;
  const bool first = x0 < -0.999, last = x0 > 0.999;
  const double hi = by_sigma * (off + half), lo = by_sigma * (off - half);
  const double share = (last ? 1 : below(hi)) - (first ? 0 : below(lo));
  const double f_hi = last ? 0 : density(hi), f_lo = first ? 0 : density(lo);

  *by_x0 = share > least ? by_sigma * (f_hi - f_lo) / share : 0;
  *by_log = share > least ? 0.5 * (hi * f_hi - lo * f_lo) / share : 0;
  return -log_of(share);
}

double dx_decoder_number(const dx_decoder *d, double log_var, double x0, double x0hat, double *by_x0, double *by_log)
{
  const double log_2pi = 1.8378770664093455, off = x0hat - x0;

  if (d->bytes) return byte_number(log_var, x0, x0hat, by_x0, by_log);
  *by_x0 = off * dx_exp(-log_var);
  *by_log = 0.5 * (1 - off * *by_x0);
  return 0.5 * (log_2pi + log_var + off * *by_x0) + d->log_scale;
}

double dx_decoder_bytes(const dx_decoder *d, int64_t D, const float *x0, const float *x0hat)
{
  const double by_sigma = 1 / sqrt(d->variance);
  double sum = 0;

  assert(d->bytes);
  for (int64_t i = 0; i < D; i++) {
    const double x = x0[i], off = x - x0hat[i];

    if (x < -0.999) sum -= log_of(below(by_sigma * (off + half)));
    else if (x > 0.999) sum -= log_of(1 - below(by_sigma * (off - half)));
    else sum -= log_of(below(by_sigma * (off + half)) - below(by_sigma * (off - half)));
  }
  return sum;
}
