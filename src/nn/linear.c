/* SPDX-License-Identifier: Apache-2.0 */
/* nn/linear.c - see linear.h.

     y  = x W^T + b          gx = gy W
     gW = gy^T x             gb = sum over rows of gy

   Products whose weights fit into a core's cache go through the small kernel without
   packing; larger ones through BLIS. The bound is a constant, so that the choice is a
   matter of the experiment and not of the machine. */
#include "nn/linear.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

enum { SMALL = 256 * 1024, NARROW = 16 };

dx_error *dx_linear_init(dx_linear *l, dx_params *p, int64_t *packed, const char *name, int64_t in,
                         int64_t out, dx_activation activation)
{
  const double bound = 1 / sqrt((double)in);
  dx_param_entry w = {.dims = 2, .dim = {out, in}, .bound = bound};
  dx_param_entry b = {.dims = 1, .dim = {out}, .bound = bound};

  *l = (dx_linear){.in = in, .out = out, .activation = activation, .packed = *packed};
  *packed += (in * out + 15) / 16 * 16;
  snprintf(w.name, sizeof w.name, "%s.w", name);
  snprintf(b.name, sizeof b.name, "%s.b", name);
  DX_TRY(dx_params_add(p, &w, &l->w));
  return dx_params_add(p, &b, &l->b);
}

static bool small(const dx_linear *l) { return l->in * l->out <= SMALL; }

/* With few inputs the rows of gW are too short for vectors: its transpose is computed. */
static bool narrow(const dx_linear *l) { return l->in < NARROW && l->out >= NARROW; }

void dx_linear_pack(const dx_linear *l, const dx_kernels *k, const float *w, float *packed)
{
  k->transpose(l->out, l->in, w + l->w.at, l->in, packed + l->packed, l->out);
}

/* products: with W, of which backward has one for gW and one for gx. */
static void tell(const dx_linear *l, const dx_pass *p, int64_t B, int products, bool backward, double begin)
{
  const double w = (double)(l->in * l->out);

  dx_profile_end(p->profile, (dx_profile_row){.kind = "linear", .backward = backward, .at = l->w.at,
    .flops = 2 * products * (double)B * w, .bytes = 4.0 * products * (w + (double)(B * (l->in + l->out)))}, begin);
}

static void product_forward(const dx_linear *l, const dx_pass *p, int64_t B, const float *x, float *y)
{
  const float *const wt = p->packed + l->packed, *const b = p->w + l->b.at;

  if (small(l)) {
    p->kernel->gemm(B, l->out, l->in, x, l->in, 1, wt, l->out, y, l->out, b,
                    l->activation == DX_RELU ? DX_GEMM_BIAS_RELU : DX_GEMM_BIAS);
    return;
  }
  dx_gemm_blis(B, l->out, l->in, 1, x, l->in, 1, wt, l->out, 1, 0, y, l->out);
  for (int64_t i = 0; i < B; i++) {
    float *const row = y + i * l->out;

    p->kernel->add(l->out, row, b, row);
    if (l->activation == DX_RELU) p->kernel->relu_backward(l->out, row, row, row);
  }
}

void dx_linear_forward(const dx_linear *l, const dx_pass *p, int64_t B, const float *x, float *y)
{
  const double begin = dx_profile_begin(p->profile);

  product_forward(l, p, B, x, y);
  tell(l, p, B, 1, false, begin);
}

static void weight_gradient(const dx_linear *l, const dx_pass *p, int64_t B, const float *x,
                            const float *gy)
{
  float *const gw = p->gw + l->w.at;

  if (narrow(l)) {
    const size_t mark = dx_arena_mark(p->work);
    float *const gwt = dx_linear_work(l, p->work), *const rows = gwt + l->in * l->out;

    p->kernel->gemm(l->in, l->out, B, x, 1, l->in, gy, l->out, gwt, l->out, NULL, DX_GEMM_SET);
    p->kernel->transpose(l->in, l->out, gwt, l->out, rows, l->in);
    p->kernel->add(l->in * l->out, gw, rows, gw);
    dx_arena_release(p->work, mark);
  } else if (small(l)) {
    p->kernel->gemm(l->out, l->in, B, gy, 1, l->out, x, l->in, gw, l->in, NULL, DX_GEMM_ADD);
  } else {
    dx_gemm_blis(l->out, l->in, B, 1, gy, 1, l->out, x, l->in, 1, 1, gw, l->in);
  }
}

void dx_linear_backward(const dx_linear *l, const dx_pass *p, int64_t B, const float *x, const float *y,
                        float *gy, float *gx)
{
  const float *const w = p->w + l->w.at;
  const double begin = dx_profile_begin(p->profile);

  if (l->activation == DX_RELU) p->kernel->relu_backward(B * l->out, y, gy, gy);
  p->kernel->add_rows(B, l->out, gy, l->out, p->gw + l->b.at);
  weight_gradient(l, p, B, x, gy);
  if (gx && small(l)) p->kernel->gemm(B, l->in, l->out, gy, l->out, 1, w, l->in, gx, l->in, NULL, DX_GEMM_SET);
  else if (gx) dx_gemm_blis(B, l->in, l->out, 1, gy, l->out, 1, w, l->in, 1, 0, gx, l->in);
  tell(l, p, B, gx ? 2 : 1, true, begin);
}

float *dx_linear_work(const dx_linear *l, dx_arena *a)
{
  return narrow(l) ? dx_arena_floats(a, 2 * l->in * l->out) : NULL;
}
