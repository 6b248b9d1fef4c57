/* SPDX-License-Identifier: Apache-2.0 */
/* nn/conv.h - convolution, 1x1 or 3x3, channels last.
   x (B,h,w,in)  y (B,h',w',out)  W (out,size,size,in)  b (out). */
#ifndef DX_NN_CONV_H
#define DX_NN_CONV_H
#include "base/shape.h"
#include "nn/params.h"

typedef enum {
  DX_CONV_1,        /* 1x1: a linear layer on every pixel */
  DX_CONV_3,        /* 3x3 with a border of zeros: h' = h */
  DX_CONV_3_DIRECT, /* the same, always by products with the patches */
  DX_CONV_3_HALF,   /* 3x3, every second pixel, zeros right and below only: h' = h / 2, h even */
  DX_CONV_3_HALF_1  /* the same with zeros on all sides */
} dx_conv_kind;

/* How it is computed; init chooses by kind and channels. */
typedef enum { DX_CONV_PATCHES, DX_CONV_SHIFTS, DX_CONV_WINOGRAD } dx_conv_way;

/* Never changes after init. */
typedef struct {
  dx_conv_kind kind;
  dx_conv_way way;
  int64_t in, out;
  dx_param w, b;
  int64_t packed; /* where W stands in dx_pass.packed, arranged for its way */
} dx_conv;

/* What y starts with beside the bias; each may be NULL. */
typedef struct {
  const float *pixels;  /* (B,h',w',out), may be y itself: a residual */
  const float *example; /* (B,out), for all pixels of an example */
} dx_conv_base;

/* Registers NAME.w and NAME.b, both uniform within 1/sqrt(size size in) (PyTorch's start), and
   takes its floats of the packed weights from *packed on.  Local */
dx_error *dx_conv_init(dx_conv *l, dx_params *p, int64_t *packed, const char *name, dx_conv_kind kind,
                       int64_t in, int64_t out) DX_MUST_CHECK;
/* Arranges W of p->w for forward, and for backward where passes train, into packed (the whole model's); p's crew helps. */
void dx_conv_pack(const dx_conv *l, const dx_pass *p, dx_pass_kind kind, float *packed);
/* Shape of y for an x of that shape. */
dx_shape dx_conv_out(const dx_conv *l, dx_shape x);

/* y = base + b + W * x. Needs dx_conv_work of p->work, as backward does. */
void dx_conv_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y);
/* x is forward's. Overwrites gx (B,h,w,in), which may be NULL for the first layer, and gexample
   (B,out), the sum of gy over the pixels, which may be NULL; adds to the gradients of W and b. */
void dx_conv_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy,
                      float *gx, float *gexample);
/* Measures the scratch of one pass over an x of that shape. */
void dx_conv_work(const dx_conv *l, dx_shape s, dx_arena *a);
#endif
