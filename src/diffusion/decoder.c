/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/decoder.c - the discretised Gaussian of 8-bit data; Ho et al. 2020, eq. 13.

   As improved-diffusion computes it, so that bits per dimension can be compared:
   P(v) = F(v + 1/2) - F(v - 1/2), F(z) = (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2. */
#include "diffusion/process.h"

#include <assert.h>
#include <math.h>

#include "base/math.h"

/* The distribution function of a standard normal. */
static double below(double z)
{
  const double root_2_by_pi = 0.7978845608028654;

  return 0.5 * (1 + dx_tanh(root_2_by_pi * (z + 0.044715 * (z * z * z))));
}

static double log_of(double share) { return dx_log(share > 1e-12 ? share : 1e-12); }

double dx_decoder_bytes(const dx_decoder *d, int64_t D, const float *x0, const float *x0hat)
{
  const double by_sigma = 1 / sqrt(d->variance), half = 1. / 255;
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
