/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler_ddim.c - Song et al. 2021, eq. 12 and 16, on a grid of a few steps.

     sigma  = eta sqrt((1 - abar_s) / (1 - abar_t)) sqrt(1 - abar_t / abar_s)
     epshat = (x_t - sqrt(abar_t) x0hat) / sqrt(1 - abar_t)
     x_s    = sqrt(abar_s) x0hat + sqrt(1 - abar_s - sigma^2) epshat + sigma z

   epshat comes from x0hat as it is given, clipped or not; s is the next step of the grid. */
#include "diffusion/sampler.h"

#include <assert.h>
#include <math.h>

#include "diffusion/grid.h"

typedef struct {
  int64_t steps;
  double eta;
} config;

static const dx_option options[] = {
  DX_OPTION(config, steps, "50", 1, 1000000,
            "steps to visit, evenly spaced from T to 1; T of them where T is less", .role = DX_FREE, .alias = "num_inference_steps"),
  DX_OPTION(config, eta, "0", 0, 1, "share of fresh noise: 0 is deterministic, 1 the noise of DDPM",
            .role = DX_FREE),
  DX_OPTION_END
};

/* From T to 1 in equal strides, both ends visited; one step alone starts at T. */
static int64_t plan(const void *config_, const dx_process *p, dx_visit *v)
{
  const config *c = config_;
  const int64_t T = p->timesteps, n = c->steps < T ? c->steps : T;

  for (int64_t i = 0; v && i < n; i++) {
    const int64_t t = dx_grid_linspace(T, n, n - 1 - i);

    v[i] = dx_visit_of(p, t, c->eta > 0 ? t : 0);
    v[i].last = i == n - 1;
  }
  return n;
}

static void step(const void *config_, const dx_process *p, const dx_kernels *k, const dx_visit *v, int64_t n,
                 const float *x0hat, const float *z, float *memory, float *x)
{
  const config *c = config_;
  const dx_level now = v->level, next = v->last ? (dx_level){1, 0} : v[1].level;
  const double variance = c->eta * c->eta * (next.nbar / now.nbar) * (1 - now.abar / next.abar);
  const double rest =
      next.nbar > variance ? next.nbar - variance : 0; /* rounding only: the formula is never below 0 */
  const double of_xt = sqrt(rest / now.nbar), of_x0 = sqrt(next.abar) - of_xt * sqrt(now.abar);

  (void)p;
  (void)memory;
  assert(v->last || v[1].t < v->t);
  k->mix(n, (float)of_x0, x0hat, (float)of_xt, x, x);
  if (variance > 0) k->mix(n, 1, x, (float)sqrt(variance), z, x);
}

const dx_sampler dx_sampler_ddim = {
  .name = "ddim", .help = "few steps, deterministic with eta 0 (Song et al. 2021)",
  .options = options, .config_size = sizeof(config), .plan = plan, .step = step,
};
