/* SPDX-License-Identifier: Apache-2.0 */
/* nn/winograd.h - convolution 3x3 of stride 1 by Winograd's F(4x4,3x3): what conv.c calls for the layers
   that gain by it. Arguments are those of conv.h. */
#ifndef DX_NN_WINOGRAD_H
#define DX_NN_WINOGRAD_H
#include "nn/conv.h"

/* Floats of the transformed weights, and their making. */
int64_t dx_winograd_packed(const dx_conv *l);
void dx_winograd_pack(const dx_conv *l, const dx_pass *p, float *packed);

void dx_winograd_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y);
/* The gradients of x and W; that of the bias is conv.c's. */
void dx_winograd_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx);
/* Measures the scratch of one pass, forward or backward. */
void dx_winograd_work(const dx_conv *l, dx_shape s, dx_arena *a);
#endif
