/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/loss.c - the list of losses: a function and a row each, options beside them.

   Weights that papers state for one prediction hold for every other: (eps - epshat)^2 is
   eps_out^2 (target - out)^2, and (x0 - x0hat)^2 is x0_out^2 (target - out)^2. */
#include "diffusion/loss.h"

#include <string.h>

#include "base/math.h"

static const dx_option none[] = { DX_OPTION_END };

/* Ho et al. 2020, eq. 14. */
static dx_cost simple(const void *config, const dx_process *p, const dx_affine *f, int64_t r)
{
  (void)config;
  (void)p;
  (void)f;
  (void)r;
  return (dx_cost){.square = 1};
}

/* Ho et al. 2020, eq. 5: the bound itself, L_vlb of Nichol & Dhariwal 2021. */
static dx_cost vlb(const void *config, const dx_process *p, const dx_affine *f, int64_t r)
{
  (void)config;
  (void)p;
  (void)f;
  (void)r;
  return (dx_cost){.bound = 1};
}

typedef struct { double lambda; } hybrid_config;
static const dx_option hybrid_options[] = {
  DX_OPTION(hybrid_config, lambda, "0.001", 0, 1e6, "weight of the bound in the hybrid loss, in bits/dim"),
  DX_OPTION_END
};

/* Nichol & Dhariwal 2021, eq. 16: L_simple + lambda L_vlb, L_vlb moving the variance alone. */
static dx_cost hybrid(const void *config, const dx_process *p, const dx_affine *f, int64_t r)
{
  (void)p;
  (void)f;
  (void)r;
  return (dx_cost){.square = 1, .bound = ((const hybrid_config *)config)->lambda};
}

typedef struct { double snr_gamma; } min_snr_config;
static const dx_option min_snr_options[] = {
  DX_OPTION(min_snr_config, snr_gamma, "5", 1e-6, 1e9, "signal-to-noise ratio at which the weight of the error of x_0 ends to grow"),
  DX_OPTION_END
};

/* Hang et al. 2023, eq. 7: (x0 - x0hat)^2 weighted with min(SNR, gamma). */
static dx_cost min_snr(const void *config, const dx_process *p, const dx_affine *f, int64_t r)
{
  const double gamma = ((const min_snr_config *)config)->snr_gamma, snr = p->abar[r] / p->nbar[r];

  return (dx_cost){.square = (snr < gamma ? snr : gamma) * f->x0_out * f->x0_out};
}

typedef struct { double p2_k, p2_gamma; } p2_config;
static const dx_option p2_options[] = {
  DX_OPTION(p2_config, p2_k, "1", 1e-6, 1e9, "k of P2: keeps the weight finite where nothing but noise is left"),
  DX_OPTION(p2_config, p2_gamma, "1", 0, 10, "gamma of P2: 0 is the simple loss of noise prediction"),
  DX_OPTION_END
};

/* Choi et al. 2022, eq. 8: (eps - epshat)^2 weighted with 1 / (k + SNR)^gamma. */
static dx_cost p2(const void *config, const dx_process *p, const dx_affine *f, int64_t r)
{
  const p2_config *const c = config;
  const double snr = p->abar[r] / p->nbar[r];

  return (dx_cost){.square = dx_exp(-c->p2_gamma * dx_log(c->p2_k + snr)) * f->eps_out * f->eps_out};
}

static const dx_option edm_options[] = {
  DX_OPTION(dx_edm_config, sigma_data, "0.5", 1e-3, 1e3, "deviation of the data, normalised units, that the preconditioning expects"),
  DX_OPTION(dx_edm_config, sigma_mean, "-1.2", -20, 20, "mean of ln sigma (P_mean)"),
  DX_OPTION(dx_edm_config, sigma_std, "1.2", 1e-3, 20, "deviation of ln sigma (P_std)"),
  DX_OPTION_END
};

static const dx_loss all[] = {
  {"simple", "mean squared error of the prediction (Ho et al. 2020)", none, 0, false, false, simple},
  {"vlb", "the bound itself, T L_t in bits/dim (Ho et al. 2020, eq. 5)", none, 0, true, true, vlb},
  {"hybrid", "simple, and the bound for a learned variance alone (Nichol and Dhariwal 2021)", hybrid_options,
   sizeof(hybrid_config), true, false, hybrid},
  {"min-snr", "error of x_0 weighted with min(SNR, gamma) (Hang et al. 2023)", min_snr_options, sizeof(min_snr_config),
   false, false, min_snr},
  {"p2", "error of the noise weighted with 1 / (k + SNR)^gamma (Choi et al. 2022)", p2_options, sizeof(p2_config), false,
   false, p2},
  {"edm", "error of the preconditioned denoiser, lambda(sigma) (x0 - x0hat)^2 (Karras et al. 2022)", edm_options,
   sizeof(dx_edm_config), false, false, simple}, /* lambda x0_out^2 is 1: predict.c */
};
enum { COUNT = sizeof all / sizeof *all };

const dx_loss *dx_loss_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i].name, name)) return &all[i];
  return NULL;
}

const dx_loss *dx_loss_at(int i) { return i >= 0 && i < COUNT ? &all[i] : NULL; }
