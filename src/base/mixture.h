/* SPDX-License-Identifier: Apache-2.0 */
/* base/mixture.h - a mixture of isotropic Gaussians: what some sets know of their own density. */
#ifndef DX_BASE_MIXTURE_H
#define DX_BASE_MIXTURE_H
#include <stdint.h>

/* p(x) = sum_k weight[k] N(x; mean[k], sigma[k]^2 I). The arrays belong to who made it. */
typedef struct {
  int64_t count, dim;                   /* count 0: no mixture */
  const double *weight, *mean, *sigma;  /* (count), (count, dim), (count) */
} dx_mixture;
#endif
