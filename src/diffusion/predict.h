/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/predict.h - what a network predicts, and what follows from it. */
#ifndef DX_DIFFUSION_PREDICT_H
#define DX_DIFFUSION_PREDICT_H
#include <stdbool.h>
#include "diffusion/process.h"

/* A prediction at one step: all is affine in what is known.
     target = of_x0 x0 + of_eps eps
     x0hat  = x0_xt x_t + x0_out out
     epshat = eps_xt x_t + eps_out out */
typedef struct { double of_x0, of_eps, x0_xt, x0_out, eps_xt, eps_out; } dx_affine;

/* One row of the list in predict.c. */
typedef struct {
  const char *name, *help;
  bool from_nothing; /* x0hat follows even where x_T keeps nothing of x_0 (abar_T = 0) */
  bool preconditioned; /* the network is given c_in x and c_noise of EDM, not x_t and t - 1 */
  /* At any level; row t - 1 is that of its step, or of the nearest. `mean`, which is of a step, is exact at steps alone. */
  dx_affine (*at)(const dx_process *p, int64_t row, dx_level level);
} dx_predict;

/* EDM's preconditioning: what x_t is multiplied with to be c_in x, x = x_t / sqrt(abar), and c_noise = ln(sigma) / 4,
   sigma = sqrt(nbar / abar). Karras et al. 2022, table 1. */
double dx_edm_scale(double sigma_data, dx_level level);
double dx_edm_time(dx_level level);

const dx_predict *dx_predict_find(const char *name); /* NULL: no such prediction */
const dx_predict *dx_predict_at(int i);              /* in list order; NULL after the last */
#endif
