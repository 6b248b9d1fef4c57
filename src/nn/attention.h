/* SPDX-License-Identifier: Apache-2.0 */
/* nn/attention.h - self-attention over the pixels of an image with a residual, as diffusers'
   Attention in UNet2DModel.  x, y (B,h,w,C); n = h w tokens. */
#ifndef DX_NN_ATTENTION_H
#define DX_NN_ATTENTION_H
#include "nn/conv.h"
#include "nn/norm.h"

/* Never changes after init. */
typedef struct {
  int64_t channels, heads;
  int64_t groups; /* of the norm before it; 0: none */
  bool recompute; /* backward computes q, k, v and o again instead of keeping them */
  dx_norm norm;
  dx_conv q, k, v, out;
} dx_attention;

/* What forward leaves for backward; all (B,h,w,C) but stats. With recompute only stats. */
typedef struct { double *stats; float *q, *k, *v, *o; } dx_attention_acts;

/* head: channels of a head, dividing channels.  Local */
dx_error *dx_attention_init(dx_attention *l, dx_params *p, int64_t *packed, const char *name, int64_t channels,
                            int64_t head, int64_t groups, double eps) DX_MUST_CHECK;
void dx_attention_pack(const dx_attention *l, const dx_pass *p, dx_pass_kind kind, float *packed);
void dx_attention_place(const dx_attention *l, dx_shape s, dx_arena *a, dx_attention_acts *acts);
/* Measure the scratch of each pass. */
void dx_attention_work(const dx_attention *l, dx_shape s, dx_arena *forward, dx_arena *backward);

void dx_attention_forward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                          const dx_attention_acts *acts, float *y);
/* After forward with the same x. Overwrites gx, or with add adds to it. */
void dx_attention_backward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                           const dx_attention_acts *acts, const float *gy, bool add, float *gx);
#endif
