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
            "steps to visit, evenly spaced from T to 1; T of them where T is less", .role = DX_FREE),
  DX_OPTION(config, eta, "0", 0, 1, "share of fresh noise: 0 is deterministic, 1 the noise of DDPM",
            .role = DX_FREE),
  DX_OPTION_END
};

/* From T to 1 in equal strides, both ends visited; one step alone starts at T. */
static int64_t plan(const void *config_, const dx_process *p, int64_t *t)
{
  const config *c = config_;
  const int64_t T = p->timesteps, n = c->steps < T ? c->steps : T;

  dx_grid_linspace(T, n, t);
  for (int64_t i = 0; i < n / 2; i++) {
    const int64_t rising = t[i];

    t[i] = t[n - 1 - i];
    t[n - 1 - i] = rising;
  }
  return n;
}

static void step(const void *config_, const dx_process *p, const dx_kernels *k, int64_t t, int64_t s,
                 int64_t n, const float *xt, const float *x0hat, const float *z, float *xs)
{
  const config *c = config_;
  const double abar_t = p->abar[t - 1], nbar_t = p->nbar[t - 1];
  const double abar_s = s > 0 ? p->abar[s - 1] : 1, nbar_s = s > 0 ? p->nbar[s - 1] : 0;
  const double variance = c->eta * c->eta * (nbar_s / nbar_t) * (1 - abar_t / abar_s);
  const double rest =
      nbar_s > variance ? nbar_s - variance : 0; /* rounding only: the formula is never below 0 */
  const double of_xt = sqrt(rest / nbar_t), of_x0 = sqrt(abar_s) - of_xt * sqrt(abar_t);

  assert(s >= 0 && s < t);
  k->mix(n, (float)of_x0, x0hat, (float)of_xt, xt, xs);
  if (variance > 0) k->mix(n, 1, xs, (float)sqrt(variance), z, xs);
}

const dx_sampler dx_sampler_ddim = {
  .name = "ddim", .help = "few steps, deterministic with eta 0 (Song et al. 2021)",
  .options = options, .config_size = sizeof(config), .plan = plan, .step = step,
};
