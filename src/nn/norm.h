/* SPDX-License-Identifier: Apache-2.0 */
/* nn/norm.h - group normalisation, alone or with SiLU behind it, optionally modulated by
   each example's own scale and shift.  x, y (B,h,w,C)  w, b (C). */
#ifndef DX_NN_NORM_H
#define DX_NN_NORM_H
#include "base/shape.h"
#include "nn/params.h"

typedef enum { DX_NORM_PLAIN, DX_NORM_SILU } dx_norm_kind;

/* Never changes after init. */
typedef struct {
  dx_norm_kind kind;
  int64_t channels, groups;
  double eps;
  dx_param w, b;
} dx_norm;

/* Registers NAME.w (1) and NAME.b (0); CONFIG where the groups do not divide the channels.  Local */
dx_error *dx_norm_init(dx_norm *l, dx_params *p, const char *name, dx_norm_kind kind, int64_t channels,
                       int64_t groups, double eps) DX_MUST_CHECK;

/* modulate (B,2C): each example's scale, then shift, or NULL. stats: 2 B groups doubles, kept for
   backward. Needs dx_norm_work of p->work, as backward does. */
void dx_norm_forward(const dx_norm *l, const dx_pass *p, dx_shape s, const float *x, const float *modulate,
                     double *stats, float *y);
/* x, modulate and stats are forward's. Overwrites gx (which may be gy) and gmodulate (B,2C; NULL
   without modulate); adds to the gradients of w and b. */
void dx_norm_backward(const dx_norm *l, const dx_pass *p, dx_shape s, const float *x, const float *modulate,
                      const double *stats, const float *gy, float *gx, float *gmodulate);
double *dx_norm_stats(const dx_norm *l, int64_t B, dx_arena *a); /* places stats */
void dx_norm_work(const dx_norm *l, dx_arena *a);                /* measures the scratch of one pass */
#endif
