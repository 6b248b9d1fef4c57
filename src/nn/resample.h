/* SPDX-License-Identifier: Apache-2.0 */
/* nn/resample.h - half and double size without weights: the mean of 2x2 pixels, and each pixel
   four times. s is the shape of x; h and w are even where they are halved. */
#ifndef DX_NN_RESAMPLE_H
#define DX_NN_RESAMPLE_H
#include "base/shape.h"
#include "nn/params.h"

typedef enum { DX_SAME_SIZE, DX_HALF_SIZE, DX_DOUBLE_SIZE } dx_resample;

dx_shape dx_resample_out(dx_resample how, dx_shape s);
/* x -> y; nothing to do for DX_SAME_SIZE, which callers spare themselves. */
void dx_resample_forward(dx_resample how, const dx_pass *p, dx_shape s, const float *x, float *y);
void dx_resample_backward(dx_resample how, const dx_pass *p, dx_shape s, const float *gy, float *gx);
#endif
