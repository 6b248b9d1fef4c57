/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler_heun.c - Karras et al. 2022, algorithm 2: Heun's method on the ODE of X = x / sqrt(abar), noised again on
   the way where churn is above 0.

     sigma_i = (max^(1/rho) + i / (n - 1) (min^(1/rho) - max^(1/rho)))^rho, i = 0..n-1;  sigma_n = 0           (eq. 5)
     up      = sigma_i (1 + min(churn / n, sqrt(2) - 1)) where churn_min <= sigma_i <= churn_max, else sigma_i
     X_up    = X + sqrt(up^2 - sigma_i^2) churn_noise z
     d       = (X_up - x0hat(X_up; up)) / up,  X' = X_up + (next - up) d                                      stage 0
     X       = X_up + (next - up) (d + d') / 2, d' of X' at next, unless next is 0                              stage 1

   Where x0hat is known at steps alone, each sigma is that of the nearest step, and none is taken twice. X begins as pure noise
   of the first level, raised or not: N(0, 1) in the scale of x_t. */
#include "diffusion/sampler.h"

#include <math.h>
#include <string.h>

#include "base/math.h"

typedef struct {
  int64_t steps;
  double sigma_min, sigma_max, rho, churn, churn_min, churn_max, churn_noise;
} config;

static const dx_option options[] = {
  DX_OPTION(config, steps, "18", 1, 1000000, "steps, of two predictions each, but for the last, which has one", .role = DX_FREE,
            .alias = "num_inference_steps"),
  DX_OPTION(config, sigma_min, "0.002", 1e-6, 1e6, "sigma = sqrt((1 - abar) / abar) of the last step, at least that of t = 1 where "
            "objective.predict is not edm", .role = DX_FREE),
  DX_OPTION(config, sigma_max, "80", 1e-6, 1e6, "sigma of the first step, at most that of t = T where objective.predict is not edm",
            .role = DX_FREE),
  DX_OPTION(config, rho, "7", 1, 100, "how much closer steps are where sigma is small; 1 is evenly spaced", .role = DX_FREE),
  DX_OPTION(config, churn, "0", 0, 1e6, "fresh noise of all steps together; 0 is deterministic", .role = DX_FREE),
  DX_OPTION(config, churn_min, "0", 0, 1e6, "sigma from which there is fresh noise", .role = DX_FREE),
  DX_OPTION(config, churn_max, "1e6", 0, 1e6, "sigma up to which there is fresh noise", .role = DX_FREE),
  DX_OPTION(config, churn_noise, "1", 0.5, 2, "deviation of the fresh noise; a little above 1 makes up for detail that is lost",
            .role = DX_FREE),
  DX_OPTION_END
};

static dx_error *check(const void *config_, const char **key)
{
  const config *c = config_;

  *key = "sample.sigma_min";
  if (c->sigma_min >= c->sigma_max)
    return DX_FAIL(CONFIG, "is %g, but sample.sigma_max is %g; allowed: less than that", c->sigma_min, c->sigma_max);
  *key = "sample.churn_min";
  if (c->churn_min > c->churn_max)
    return DX_FAIL(CONFIG, "is %g, but sample.churn_max is %g; allowed: at most that", c->churn_min, c->churn_max);
  return NULL;
}

static double sigma_of(dx_level l) { return sqrt(l.nbar / l.abar); }

/* sigma_i of the list. */
static double ramp(const config *c, double lowest, double highest, int64_t i)
{
  const double from = dx_exp(dx_log(highest) / c->rho), to = dx_exp(dx_log(lowest) / c->rho);
  const double part = c->steps > 1 ? (double)i / (double)(c->steps - 1) : 0;

  return dx_exp(c->rho * dx_log(from + part * (to - from)));
}

/* Where x0hat can be asked for. */
static dx_visit settle(const dx_process *p, double sigma)
{
  const dx_level wanted = dx_level_of_sigma(sigma);
  dx_visit v = dx_visit_of(p, dx_process_nearest(p, wanted), 0);

  if (p->sigma_data > 0) v.level = wanted;
  return v;
}

static int64_t plan(const void *config_, const dx_process *p, dx_visit *v)
{
  const config *c = config_;
  const bool any = p->sigma_data > 0;
  const double least = sigma_of(dx_process_level(p, 1)), most = sigma_of(dx_process_level(p, p->timesteps));
  const double lowest = any ? c->sigma_min : fmax(c->sigma_min, least), highest = any ? c->sigma_max : fmin(c->sigma_max, most);
  const double raise = 1 + fmin(c->churn / (double)c->steps, 0.41421356237309505);
  double before = INFINITY;
  int64_t n = 0;

  for (int64_t i = 0; i < c->steps; i++) {
    dx_visit at = settle(p, ramp(c, lowest, highest, i)), up = at;
    const double sigma = sigma_of(at.level);

    if (!(sigma < before)) continue;
    before = sigma;
    if (sigma >= c->churn_min && sigma <= c->churn_max && raise > 1) up = settle(p, sigma * raise);
    at.stage = 1;
    if (up.level.nbar > at.level.nbar) at.draw = p->timesteps + 2 + i;
    if (v && n > 0) v[n] = at;
    if (n > 0) n++;
    if (v) v[n] = up;
    n++;
  }
  if (v) v[n - 1].last = true;
  return n;
}

/* Euler's step in x, and half of it in memory: to X_up + (next - up) d / 2, where stage 1 adds its own half. */
static void predict(const dx_kernels *k, dx_level now, dx_level next, int64_t n, const float *x0hat, float *memory, float *x)
{
  const double share = sigma_of(next) / sigma_of(now), a = sqrt(now.abar), to = sqrt(next.abar);

  k->mix(n, (float)(to / a * (1 + share) / 2), x, (float)(to * (1 - share) / 2), x0hat, memory);
  k->mix(n, (float)(to / a * share), x, (float)(to * (1 - share)), x0hat, x);
}

static void step(const void *config_, const dx_process *p, const dx_kernels *k, const dx_visit *v, int64_t n,
                 const float *x0hat, const float *z, float *memory, float *x)
{
  const config *c = config_;
  const dx_level now = v->level;

  (void)p;
  if (v->last) {
    memcpy(x, x0hat, (size_t)n * sizeof *x);
    return;
  }
  if (v->stage == 0) {
    predict(k, now, v[1].level, n, x0hat, memory, x);
    return;
  }
  const double a = sqrt(now.abar), sigma = sigma_of(now), half = (1 - sigma_of(v[-1].level) / sigma) / 2;
  k->mix(n, (float)half, x, (float)(-half * a), x0hat, x);
  k->mix(n, 1, memory, 1, x, x);
  if (v->draw == 0) return;
  const double up = sigma_of(v[1].level), to = sqrt(v[1].level.abar);
  k->mix(n, (float)(to / a), x, (float)(to * sqrt(up * up - sigma * sigma) * c->churn_noise), z, x);
}

const dx_sampler dx_sampler_heun = {
  .name = "heun", .help = "few steps of second order on sigma, deterministic with churn 0 (Karras et al. 2022)",
  .options = options, .config_size = sizeof(config), .remembers = true, .check = check, .plan = plan, .step = step,
};
