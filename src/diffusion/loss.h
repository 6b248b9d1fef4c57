/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/loss.h - what training minimises. */
#ifndef DX_DIFFUSION_LOSS_H
#define DX_DIFFUSION_LOSS_H
#include <stdbool.h>
#include "diffusion/predict.h"
#include "diffusion/process.h"

/* loss of an example at step t = square x mean over D of (target - out)^2 + bound x T L_t / (D ln 2):
   the second part is in bits/dim and its mean over uniform t is the whole bound but L_T. */
typedef struct { double square, bound; } dx_cost;

/* One row of the list in loss.c. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  bool bound;      /* has that part, so that a learned variance has a gradient */
  bool moves_mean; /* its gradient reaches the prediction too, not the variance alone */
  dx_cost (*at)(const void *config, const dx_process *p, const dx_affine *f, int64_t row); /* row t - 1 */
} dx_loss;

/* Options of loss edm: what dx_predict edm and the log-normal draw of sigma are told. */
typedef struct { double sigma_data, sigma_mean, sigma_std; } dx_edm_config;

const dx_loss *dx_loss_find(const char *name); /* NULL: no such loss */
const dx_loss *dx_loss_at(int i);              /* in list order; NULL after the last */
#endif
