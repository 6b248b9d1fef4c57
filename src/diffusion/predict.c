/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/predict.c - the list of predictions: a function and a row each.

   With a = sqrt(abar_t), b = sqrt(1 - abar_t) and x_t = a x0 + b eps. */
#include "diffusion/predict.h"

#include <math.h>
#include <string.h>

/* Ho et al. 2020, eq. 14: x0 = (x_t - b eps) / a. */
static dx_affine noise(const dx_process *p, int64_t r)
{
  const double a = sqrt(p->abar[r]), b = sqrt(p->nbar[r]);

  return (dx_affine){.of_eps = 1, .x0_xt = 1 / a, .x0_out = -b / a, .eps_out = 1};
}

/* eps = (x_t - a x0) / b. */
static dx_affine x0(const dx_process *p, int64_t r)
{
  const double a = sqrt(p->abar[r]), b = sqrt(p->nbar[r]);

  return (dx_affine){.of_x0 = 1, .x0_out = 1, .eps_xt = 1 / b, .eps_out = -a / b};
}

/* Salimans & Ho 2022, section 4: v = a eps - b x0, so x0 = a x_t - b v and eps = b x_t + a v. */
static dx_affine v(const dx_process *p, int64_t r)
{
  const double a = sqrt(p->abar[r]), b = sqrt(p->nbar[r]);

  return (dx_affine){.of_x0 = -b, .of_eps = a, .x0_xt = a, .x0_out = -b, .eps_xt = b, .eps_out = a};
}

/* Ho et al. 2020, eq. 7 and 8: mu~ = c1 x0 + c2 x_t; at t = 1 that is x0. */
static dx_affine mean(const dx_process *p, int64_t r)
{
  const double a = sqrt(p->abar[r]), b = sqrt(p->nbar[r]), c1 = p->c1[r], c2 = p->c2[r];

  return (dx_affine){.of_x0 = c1 + c2 * a, .of_eps = c2 * b, .x0_xt = -c2 / c1, .x0_out = 1 / c1,
                     .eps_xt = (1 + a * c2 / c1) / b, .eps_out = -a / (b * c1)};
}

static const dx_predict all[] = {
  {"noise", "the noise eps (Ho et al. 2020)", false, noise},
  {"x0", "the data x_0", true, x0},
  {"v", "v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022)", true, v},
  {"mean", "the posterior mean mu~ (Ho et al. 2020, eq. 8)", false, mean},
};
enum { COUNT = sizeof all / sizeof *all };

const dx_predict *dx_predict_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i].name, name)) return &all[i];
  return NULL;
}

const dx_predict *dx_predict_at(int i) { return i >= 0 && i < COUNT ? &all[i] : NULL; }
