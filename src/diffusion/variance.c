/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/variance.c - the list of reverse variances: a row each, and a function where the
   process itself does not know it. */
#include "diffusion/variance.h"

#include <string.h>

#include "base/math.h"

/* Nichol & Dhariwal 2021's program, ModelVarType.LEARNED: the number is the log variance. */
static dx_line learned(const dx_process *p, int64_t r)
{
  (void)p;
  (void)r;
  return (dx_line){0, 1};
}

/* Nichol & Dhariwal 2021, eq. 15, with v = (number + 1) / 2: between log beta~ (at -1) and log beta (at 1). */
static dx_line learned_range(const dx_process *p, int64_t r)
{
  const double lo = p->post_log[r], hi = dx_log(p->beta[r]);

  return (dx_line){0.5 * (lo + hi), 0.5 * (hi - lo)};
}

/* The derivative of L_{t-1} by a variance for all dimensions is 0 there. */
double dx_reverse_best(const dx_process *p, int64_t r, double x0_mse)
{
  return p->post_var[r] + p->c1[r] * p->c1[r] * x0_mse;
}

static double optimal(const dx_process *p, int64_t r, double x0_mse, double eps_sq)
{
  (void)eps_sq;
  return dx_reverse_best(p, r, x0_mse);
}

/* Bao et al. 2022, theorem 1 for DDPM's lambda^2 = beta~, in our letters:
   beta~ + beta^2 / (alpha (1 - abar)) (1 - E |epshat|^2 / D), the share kept in [0, 1] (their bounds):
   with an exact score that is `optimal`, as c1^2 (1 - abar) / abar = beta^2 / (alpha (1 - abar)). */
static double analytic(const dx_process *p, int64_t r, double x0_mse, double eps_sq)
{
  const double share = eps_sq < 1 ? 1 - eps_sq : 0;

  (void)x0_mse;
  return p->post_var[r] + p->beta[r] * p->beta[r] / ((1 - p->beta[r]) * p->nbar[r]) * share;
}

static const dx_reverse all[] = {
  {"fixed-small", "beta~_t, best for data of one point (Ho et al. 2020)", DX_VARIANCE_SMALL, NULL, NULL},
  {"fixed-large", "beta_t, best for data N(0, I) (Ho et al. 2020)", DX_VARIANCE_LARGE, NULL, NULL},
  {"learned", "the network's, as log variance of each number (Nichol and Dhariwal 2021)", DX_VARIANCE_LARGE, learned, NULL},
  {"learned-range", "the network's, between beta~_t and beta_t (Nichol and Dhariwal 2021, eq. 15)", DX_VARIANCE_LARGE,
   learned_range, NULL},
  {"optimal", "beta~_t + c1_t^2 E (x_0 - x0hat)^2, best for the given network", DX_VARIANCE_LARGE, NULL, optimal},
  {"analytic", "from E epshat^2, best for an exact score (Bao et al. 2022)", DX_VARIANCE_LARGE, NULL, analytic},
};
enum { COUNT = sizeof all / sizeof *all };

const dx_reverse *dx_reverse_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i].name, name)) return &all[i];
  return NULL;
}

const dx_reverse *dx_reverse_at(int i) { return i >= 0 && i < COUNT ? &all[i] : NULL; }
