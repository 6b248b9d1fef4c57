/* SPDX-License-Identifier: Apache-2.0 */
/* nn/norm.h - group normalisation, alone or with SiLU and dropout behind it, optionally modulated by
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

/* What stands behind the normalisation, the same in both passes; all may be 0. */
typedef struct {
  const float *modulate; /* (B,2C) each example's scale, then shift, or NULL */
  uint32_t dropout_number; /* of the network's dropouts, below 256 */
  double dropout;
} dx_norm_with;

/* Channels side by side: the first ca of C in a (B,h,w,ca), the others in b (B,h,w,C - ca).
   With b NULL all are in a. So what two layers gave is normalised without being joined. */
typedef struct { const float *a, *b; int64_t ca; } dx_beside;
typedef struct {
  float *a, *b;
  int64_t ca;
  bool add_a, add_b; /* to what stands there, instead of overwriting it */
} dx_beside_out;

/* Registers NAME.w (1) and NAME.b (0); CONFIG where the groups do not divide the channels.  Local */
dx_error *dx_norm_init(dx_norm *l, dx_params *p, const char *name, dx_norm_kind kind, int64_t channels,
                       int64_t groups, double eps) DX_MUST_CHECK;

/* stats: 2 B groups doubles, kept for backward. Needs dx_norm_work of p->work, as backward does. */
void dx_norm_forward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with, double *stats,
                     float *y);
/* y once more, from the same x, with and stats, to the same bits. */
void dx_norm_again(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                   const double *stats, float *y);
/* Channels side by side into one (B,h,w,C), C of s. */
void dx_join(dx_shape s, dx_beside x, float *y);
/* x, with and stats are forward's; gy is overwritten. gx, whose a may be gy where all are in a, is
   given the gradient plus `plus` (B,h,w,C; NULL: none). Overwrites gmodulate (B,2C; NULL without modulate);
   adds to the gradients of w and b. */
void dx_norm_backward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                      const double *stats, float *gy, const float *plus, dx_beside_out gx, float *gmodulate);
double *dx_norm_stats(const dx_norm *l, int64_t B, dx_arena *a); /* places stats */
void dx_norm_work(const dx_norm *l, int64_t B, dx_arena *a);     /* measures the scratch of one pass of B examples */
#endif
