/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler_ancestral.c - Ho et al. 2020, algorithm 2: every step, T to 1.

     x_{t-1} = c1_t x0hat + c2_t x_t + sigma_t z,  sigma_t^2 the objective's variance; no noise at t = 1 */
#include "diffusion/sampler.h"

#include <assert.h>
#include <math.h>

static const dx_option options[] = { DX_OPTION_END }; /* it has none */

static int64_t plan(const void *config, const dx_process *p, dx_visit *v)
{
  const int64_t T = p->timesteps;

  (void)config;
  for (int64_t i = 0; v && i < T; i++) v[i] = dx_visit_of(p, T - i, T - i);
  if (v) v[T - 1].last = true;
  return T;
}

static void step(const void *config, const dx_process *p, const dx_kernels *k, const dx_visit *v, int64_t n,
                 const float *x0hat, const float *z, float *memory, float *x)
{
  const int64_t row = v->t - 1;

  (void)config;
  (void)memory;
  assert(v->last ? v->t == 1 : v[1].t == v->t - 1);
  k->mix(n, (float)p->c1[row], x0hat, (float)p->c2[row], x, x);
  if (!v->last) k->mix(n, 1, x, (float)sqrt(p->var[row]), z, x);
}

const dx_sampler dx_sampler_ancestral = {
  .name = "ancestral", .help = "every step with fresh noise (Ho et al. 2020)",
  .options = options, .config_size = 0, .uses_variance = true, .plan = plan, .step = step,
};
