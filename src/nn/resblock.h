/* SPDX-License-Identifier: Apache-2.0 */
/* nn/resblock.h - the residual block of DDPM's U-Net, as diffusers' ResnetBlock2D.
   x (B,h,w,in), also as two side by side  y (B,h',w',out)  time (B,E): SiLU of the time's embedding.

   Between the passes a block keeps little: what a norm gives is computed again, which costs a
   few hundredths of the convolution that reads it. */
#ifndef DX_NN_RESBLOCK_H
#define DX_NN_RESBLOCK_H
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/resample.h"

typedef enum {
  DX_TIME_ADD,  /* the time's projection is added behind conv1 */
  DX_TIME_SCALE /* it scales and shifts what norm2 gives */
} dx_time_kind;

typedef struct {
  int64_t in, out, time;  /* channels; E */
  int64_t groups;
  double eps, dropout;
  uint32_t dropout_number; /* of the network's dropouts, below 256 */
  dx_time_kind time_kind;
  dx_resample resample;    /* in = out where it is not DX_SAME_SIZE */
  dx_conv_kind conv;       /* DX_CONV_3 or DX_CONV_3_DIRECT */
  bool recompute;          /* backward computes conv1 again instead of keeping its output */
} dx_resblock_config;

/* Never changes after init. */
typedef struct {
  dx_resblock_config is;
  dx_norm norm1, norm2;
  dx_conv conv1, conv2, shortcut; /* shortcut only where in != out */
  dx_linear time;
} dx_resblock;

/* What forward leaves for backward. */
typedef struct {
  double *stats1, *stats2;
  float *t;   /* (B,out) or (B,2 out) */
  float *mid; /* (B,h',w',out) conv1's; NULL with recompute */
} dx_resblock_acts;

dx_error *dx_resblock_init(dx_resblock *l, dx_params *p, int64_t *packed, const char *name,
                           const dx_resblock_config *is) DX_MUST_CHECK;
void dx_resblock_pack(const dx_resblock *l, const dx_pass *p, dx_pass_kind kind, float *packed);
dx_shape dx_resblock_out(const dx_resblock *l, dx_shape x);
void dx_resblock_place(const dx_resblock *l, dx_shape s, dx_arena *a, dx_resblock_acts *acts);
/* Measure the scratch of each pass. */
void dx_resblock_work(const dx_resblock *l, dx_shape s, dx_arena *forward, dx_arena *backward);

void dx_resblock_forward(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const float *time,
                         const dx_resblock_acts *acts, float *y);
/* After forward with the same x, time and draw. Adds to gtime (B,E); gx as gx says. */
void dx_resblock_backward(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const float *time,
                          const dx_resblock_acts *acts, const float *gy, dx_beside_out gx, float *gtime);
#endif
