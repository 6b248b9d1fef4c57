/* SPDX-License-Identifier: Apache-2.0 */
/* nn/linear.h - y = x W^T + b, alone or with a ReLU behind it.
   x (B,I)  y (B,O)  W (O,I)  b (O), row-major float32. */
#ifndef DX_NN_LINEAR_H
#define DX_NN_LINEAR_H
#include "nn/params.h"

typedef enum { DX_PLAIN, DX_RELU } dx_activation;

/* Never changes after init. */
typedef struct {
  int64_t in, out;
  dx_activation activation;
  dx_param w, b;
  int64_t packed; /* where W^T (I,O) stands in dx_pass.packed */
} dx_linear;

/* Registers NAME.w and NAME.b, both uniform within 1/sqrt(in) (PyTorch's start), and takes
   in x out floats of the packed weights from *packed on.  Local */
dx_error *dx_linear_init(dx_linear *l, dx_params *p, int64_t *packed, const char *name, int64_t in,
                         int64_t out, dx_activation activation) DX_MUST_CHECK;
/* W^T for forward passes, into packed (the whole model's). */
void dx_linear_pack(const dx_linear *l, const dx_kernels *k, const float *w, float *packed);

void dx_linear_forward(const dx_linear *l, const dx_pass *p, int64_t B, const float *x, float *y);
/* x and y are forward's. gy (B,O) is overwritten where a ReLU stands behind. Overwrites gx (B,I),
   which may be NULL for the first layer; adds to the gradients of W and b. Needs
   dx_linear_work floats of p->work. */
void dx_linear_backward(const dx_linear *l, const dx_pass *p, int64_t B, const float *x, const float *y,
                        float *gy, float *gx);
/* Places backward's scratch, measuring or for real. */
float *dx_linear_work(const dx_linear *l, dx_arena *a);
#endif
