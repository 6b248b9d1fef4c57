/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/objective.c - noise prediction with the simple loss; Ho et al. 2020, eq. 4, 9, 14.

     xt    = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps
     x0hat = xt / sqrt(abar_t) - sqrt((1 - abar_t) / abar_t) epshat
     loss  = 1/D sum (eps - epshat)^2

   Kernels are called example by example, so that bits depend on nothing but the example. */
#include "diffusion/objective.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const dx_option dx_objective_options[] = {
  DX_OPTION(dx_objective_config, predict, "noise", 0, 0, "what the network predicts", .choices = "noise"),
  DX_OPTION(dx_objective_config, variance, "fixed-large", 0, 0,
            "variance of the reverse steps: beta~_t (fixed-small) or beta_t (fixed-large)",
            .choices = "fixed-small|fixed-large"),
  DX_OPTION(dx_objective_config, loss, "simple", 0, 0,
            "what training minimises: simple is the mean squared error of the prediction",
            .choices = "simple"),
  DX_OPTION_END
};

dx_variance dx_objective_variance(const dx_objective_config *c)
{
  return strcmp(c->variance, "fixed-small") ? DX_VARIANCE_LARGE : DX_VARIANCE_SMALL;
}

/* The row of step t. */
static int64_t row(const dx_objective *o, int32_t t)
{
  assert(t >= 1 && t <= o->process->timesteps);
  (void)o; /* without asserts */
  return t - 1;
}

void dx_objective_noise(const dx_objective *o, int64_t n, const int32_t *t, const float *x0,
                        const float *eps, float *xt)
{
  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * o->dim;

    o->kernel->mix(o->dim, (float)sqrt(o->process->abar[r]), x0 + at, (float)sqrt(o->process->nbar[r]),
                   eps + at, xt + at);
  }
}

void dx_objective_loss(const dx_objective *o, int64_t n, const int32_t *t, const float *x0,
                       const float *eps, const float *xt, const float *out, float weight,
                       dx_terms *terms, float *gout)
{
  const float slope = 2 * weight / (float)o->dim;

  (void)x0; /* noise prediction needs eps alone */
  (void)xt;
  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * o->dim;
    const double mse = o->kernel->sum_squared_diff(o->dim, eps + at, out + at) / (double)o->dim;

    /* x0 - x0hat = sqrt((1 - abar) / abar) (epshat - eps) */
    terms[i] = (dx_terms){
        .loss = mse, .mse = mse, .x0_mse = mse * (o->process->nbar[r] / o->process->abar[r])};
    if (gout) o->kernel->mix(o->dim, slope, out + at, -slope, eps + at, gout + at);
  }
}

static void clip(int64_t n, float lo, float hi, float *x)
{
  for (int64_t i = 0; i < n; i++) x[i] = x[i] < lo ? lo : x[i] > hi ? hi : x[i]; /* NaN stays NaN */
}

void dx_objective_x0(const dx_objective *o, int64_t n, const int32_t *t, const float *xt,
                     const float *out, float *x0hat)
{
  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * o->dim;
    const double abar = o->process->abar[r], nbar = o->process->nbar[r];

    o->kernel->mix(o->dim, (float)(1 / sqrt(abar)), xt + at, (float)-sqrt(nbar / abar), out + at,
                   x0hat + at);
    if (o->clip) clip(o->dim, o->lo, o->hi, x0hat + at);
  }
}
