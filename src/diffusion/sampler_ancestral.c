/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler_ancestral.c - Ho et al. 2020, algorithm 2: every step, T to 1.

     x_{t-1} = c1_t x0hat + c2_t x_t + sigma_t z,  sigma_t^2 the objective's variance; no noise at t = 1 */
#include "diffusion/sampler.h"

#include <assert.h>
#include <math.h>

static const dx_option options[] = { DX_OPTION_END }; /* it has none */

static int64_t plan(const void *config, const dx_process *p, int64_t *t)
{
  (void)config;
  for (int64_t i = 0; i < p->timesteps; i++) t[i] = p->timesteps - i;
  return p->timesteps;
}

static void step(const void *config, const dx_process *p, const dx_kernels *k, int64_t t, int64_t s,
                 int64_t n, const float *xt, const float *x0hat, const float *z, float *xs)
{
  (void)config;
  assert(s == t - 1);
  k->mix(n, (float)p->c1[t - 1], x0hat, (float)p->c2[t - 1], xt, xs);
  if (s > 0) k->mix(n, 1, xs, (float)sqrt(p->var[t - 1]), z, xs);
}

const dx_sampler dx_sampler_ancestral = {
  .name = "ancestral", .help = "every step with fresh noise (Ho et al. 2020)",
  .options = options, .config_size = 0, .uses_variance = true, .plan = plan, .step = step,
};
