/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/predict.c - the list of predictions: a function and a row each.

   With a = sqrt(abar_t), b = sqrt(1 - abar_t) and x_t = a x0 + b eps. */
#include "diffusion/predict.h"

#include <math.h>
#include <string.h>

#include "base/math.h"

/* Ho et al. 2020, eq. 14: x0 = (x_t - b eps) / a. */
static dx_affine noise(const dx_process *p, int64_t r, dx_level level)
{
  const double a = sqrt(level.abar), b = sqrt(level.nbar);

  (void)p;
  (void)r;
  return (dx_affine){.of_eps = 1, .x0_xt = 1 / a, .x0_out = -b / a, .eps_out = 1};
}

/* eps = (x_t - a x0) / b. */
static dx_affine x0(const dx_process *p, int64_t r, dx_level level)
{
  const double a = sqrt(level.abar), b = sqrt(level.nbar);

  (void)p;
  (void)r;
  return (dx_affine){.of_x0 = 1, .x0_out = 1, .eps_xt = 1 / b, .eps_out = -a / b};
}

/* Salimans & Ho 2022, section 4: v = a eps - b x0, so x0 = a x_t - b v and eps = b x_t + a v. */
static dx_affine v(const dx_process *p, int64_t r, dx_level level)
{
  const double a = sqrt(level.abar), b = sqrt(level.nbar);

  (void)p;
  (void)r;
  return (dx_affine){.of_x0 = -b, .of_eps = a, .x0_xt = a, .x0_out = -b, .eps_xt = b, .eps_out = a};
}

/* Ho et al. 2020, eq. 7 and 8: mu~ = c1 x0 + c2 x_t; at t = 1 that is x0. */
static dx_affine mean(const dx_process *p, int64_t r, dx_level level)
{
  const double a = sqrt(level.abar), b = sqrt(level.nbar), c1 = p->c1[r], c2 = p->c2[r];

  return (dx_affine){.of_x0 = c1 + c2 * a, .of_eps = c2 * b, .x0_xt = -c2 / c1, .x0_out = 1 / c1,
                     .eps_xt = (1 + a * c2 / c1) / b, .eps_out = -a / (b * c1)};
}

/* Karras et al. 2022, table 1 and eq. 7: x0hat = c_skip x + c_out F(c_in x; c_noise) with x = x_t / a, sigma = b / a, and
   S^2 = nbar + abar s^2 = abar (sigma^2 + s^2), s the deviation of the data:
     c_skip / a = a s^2 / S^2,  c_out = b s / S,  c_in / a = 1 / S
   F's target is (x0 - c_skip x) / c_out, and lambda(sigma) = 1 / c_out^2 weighs all its errors alike. */
static dx_affine edm(const dx_process *p, int64_t r, dx_level level)
{
  const double s = p->sigma_data, a = sqrt(level.abar), b = sqrt(level.nbar), S = sqrt(level.nbar + level.abar * s * s);

  (void)r;
  return (dx_affine){.of_x0 = b / (S * s), .of_eps = -a * s / S, .x0_xt = a * s * s / (S * S), .x0_out = b * s / S,
                     .eps_xt = b / (S * S), .eps_out = -a * s / S};
}

double dx_edm_scale(double s, dx_level level) { return 1 / sqrt(level.nbar + level.abar * s * s); }

double dx_edm_time(dx_level level) { return dx_log(level.nbar / level.abar) / 8; }

static const dx_predict all[] = {
  {"noise", "the noise eps (Ho et al. 2020)", false, false, noise},
  {"x0", "the data x_0", true, false, x0},
  {"v", "v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022)", true, false, v},
  {"mean", "the posterior mean mu~ (Ho et al. 2020, eq. 8)", false, false, mean},
  {"edm", "what the preconditioned denoiser adds to its input, with loss edm (Karras et al. 2022)", false, true, edm},
};
enum { COUNT = sizeof all / sizeof *all };

const dx_predict *dx_predict_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i].name, name)) return &all[i];
  return NULL;
}

const dx_predict *dx_predict_at(int i) { return i >= 0 && i < COUNT ? &all[i] : NULL; }
