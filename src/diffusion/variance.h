/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/variance.h - the variance of the reverse steps p(x_{t-1} | x_t). */
#ifndef DX_DIFFUSION_VARIANCE_H
#define DX_DIFFUSION_VARIANCE_H
#include <stdbool.h>
#include "diffusion/process.h"

/* log variance = base + slope x the network's number. */
typedef struct { double base, slope; } dx_line;

/* One row of the list in variance.c; of the last two functions it has at most one. */
typedef struct {
  const char *name, *help;
  dx_variance fixed;                                     /* what fills dx_process.var; a stand-in unless fixed */
  dx_line (*line)(const dx_process *p, int64_t row);     /* learned: the network has a second number for each of the first */
  /* estimated: from E (x0 - x0hat)^2 and E epshat^2 per dimension of the network on the training split */
  double (*estimate)(const dx_process *p, int64_t row, double x0_mse, double eps_sq);
} dx_reverse;

const dx_reverse *dx_reverse_find(const char *name); /* NULL: no such variance */
const dx_reverse *dx_reverse_at(int i);              /* in list order; NULL after the last */

/* beta~_t + c1_t^2 x0_mse: the best that one number for all dimensions can be. */
double dx_reverse_best(const dx_process *p, int64_t row, double x0_mse);
#endif
