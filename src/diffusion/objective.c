/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/objective.c - noising, the loss of a prediction, and the way back to x0; Ho et al. 2020, eq. 4, 14.

     xt     = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps
     target = of_x0 x0 + of_eps eps,  x0hat = x0_xt xt + x0_out out     (predict.c)
     loss   = 1/D sum (target - out)^2

   Kernels are called example by example, so that bits depend on nothing but the example. */
#include "diffusion/objective.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const dx_option dx_objective_options[] = {
  DX_OPTION(dx_objective_config, predict, "noise", 0, 0, "what the network predicts: the noise, the data (x0), sqrt(abar) eps - sqrt(1 - abar) x_0 (v), or the "
            "mean of q(x_{t-1} given x_t, x_0) (mean)", .choices = "noise|x0|v|mean"),
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

dx_error *dx_objective_check(const dx_objective_config *c, const dx_process_config *pc, const dx_process *p)
{
  const int64_t T = p->timesteps;

  if (!dx_predict_find(c->predict)->from_nothing && p->abar[T - 1] < dx_abar_least)
    return DX_FAIL(CONFIG,
                   "objective.predict is %s, but process.schedule %s%s with process.timesteps %lld has beta_%lld = %g and "
                   "abar_%lld = %.3g, which leaves nothing of x_0 to follow from it; allowed: objective.predict x0 or v, or "
                   "abar_T of at least %g",
                   c->predict, pc->schedule, pc->zero_terminal ? " (process.zero_terminal)" : "", (long long)T, (long long)T,
                   p->beta[T - 1], (long long)T, p->abar[T - 1], dx_abar_least);
  return NULL;
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
                       const float *eps, const float *out, float weight, dx_terms *terms, float *gout,
                       float *room)
{
  const float slope = 2 * weight / (float)o->dim;

  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * o->dim;
    const dx_affine f = o->predict->at(o->process, r);

    o->kernel->mix(o->dim, (float)f.of_x0, x0 + at, (float)f.of_eps, eps + at, room);
    const double square = o->kernel->sum_squared_diff(o->dim, room, out + at) / (double)o->dim;
    terms[i] = (dx_terms){
        .loss = square, .mse = square * (f.eps_out * f.eps_out), .x0_mse = square * (f.x0_out * f.x0_out)};
    if (gout) o->kernel->mix(o->dim, slope, out + at, -slope, room, gout + at);
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
    const dx_affine f = o->predict->at(o->process, r);

    o->kernel->mix(o->dim, (float)f.x0_xt, xt + at, (float)f.x0_out, out + at, x0hat + at);
    if (o->clip) clip(o->dim, o->lo, o->hi, x0hat + at);
  }
}
