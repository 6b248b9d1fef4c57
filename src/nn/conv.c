/* SPDX-License-Identifier: Apache-2.0 */
/* nn/conv.c - see conv.h.

     y_o(i) = b_o + sum over (u, v, c) of W_o(u, v, c) x_c(stride i + (u, v) - pad)

   With cols (pixels of y, 3 3 in) holding the patch of x under each pixel:

     y  = cols W^T           gcols = gy W, added back to where the patches came from
     gW = gy^T cols          gb    = sum over pixels of gy

   Products run example by example over blocks of whole rows, so that every example meets the
   same shapes and its bits do not depend on its slot in the pass. */
#include "nn/conv.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "nn/winograd.h"

enum { BLOCK = 256 }; /* pixels per product, at most, rounded up to a row: the patches stay in cache */

/* Below so many channels, in or out, the transforms cost more than the products that they save. */
enum { WINOGRAD_CHANNELS = 8 };

static bool is_winograd(const dx_conv *l)
{
  return l->kind == DX_CONV_3 && l->in >= WINOGRAD_CHANNELS && l->out >= WINOGRAD_CHANNELS;
}

static int size_of(const dx_conv *l) { return l->kind == DX_CONV_1 ? 1 : 3; }
static int64_t stride_of(const dx_conv *l) { return l->kind == DX_CONV_3_HALF || l->kind == DX_CONV_3_HALF_1 ? 2 : 1; }
static int64_t pad_of(const dx_conv *l) { return l->kind == DX_CONV_3 || l->kind == DX_CONV_3_HALF_1 ? 1 : 0; }
static int64_t patch_of(const dx_conv *l) { return size_of(l) * size_of(l) * l->in; }

dx_error *dx_conv_init(dx_conv *l, dx_params *p, int64_t *packed, const char *name, dx_conv_kind kind,
                       int64_t in, int64_t out)
{
  *l = (dx_conv){.kind = kind, .in = in, .out = out, .packed = *packed};
  const int size = size_of(l);
  const double bound = 1 / sqrt((double)patch_of(l));
  dx_param_entry w = {.dims = 4, .dim = {out, size, size, in}, .bound = bound};
  dx_param_entry b = {.dims = 1, .dim = {out}, .bound = bound};

  *packed += is_winograd(l) ? dx_winograd_packed(l) : (patch_of(l) * out + 15) / 16 * 16;
  snprintf(w.name, sizeof w.name, "%s.w", name);
  snprintf(b.name, sizeof b.name, "%s.b", name);
  DX_TRY(dx_params_add(p, &w, &l->w));
  return dx_params_add(p, &b, &l->b);
}

void dx_conv_pack(const dx_conv *l, const dx_kernels *k, const float *w, float *packed)
{
  if (is_winograd(l)) dx_winograd_pack(l, k, w, packed);
  else k->transpose(l->out, patch_of(l), w + l->w.at, patch_of(l), packed + l->packed, l->out);
}

dx_shape dx_conv_out(const dx_conv *l, dx_shape x)
{
  return (dx_shape){x.b, x.h / stride_of(l), x.w / stride_of(l), l->out};
}

/* Rows of y per product. */
static int64_t rows_of(dx_shape y)
{
  const int64_t rows = (BLOCK + y.w - 1) / y.w;

  return rows < y.h ? rows : y.h;
}

static float *columns(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const dx_shape y = dx_conv_out(l, s);

  return l->kind == DX_CONV_1 ? NULL : dx_arena_floats(a, rows_of(y) * y.w * patch_of(l));
}

/* The part of one row of x, seen with the patch's row u for output row i, that exists. */
static const float *row_under(const dx_conv *l, dx_shape s, const float *x, int64_t i, int64_t u)
{
  const int64_t r = i * stride_of(l) + u - pad_of(l);

  return r < 0 || r >= s.h ? NULL : x + r * s.w * l->in;
}

/* Patches under rows [first, first + rows) of y of one example. */
static void gather(const dx_conv *l, dx_shape s, const float *x, int64_t first, int64_t rows, float *cols)
{
  const int64_t w = dx_conv_out(l, s).w, stride = stride_of(l), pad = pad_of(l), in = l->in;

  for (int64_t i = 0; i < rows; i++)
    for (int64_t u = 0; u < 3; u++) {
      const float *const row = row_under(l, s, x, first + i, u);

      for (int64_t j = 0; j < w; j++) {
        float *const to = cols + ((i * w + j) * 9 + u * 3) * in;
        const int64_t left = j * stride - pad;

        if (row && left >= 0 && left + 3 <= s.w) {
          memcpy(to, row + left * in, (size_t)(3 * in) * sizeof *to);
          continue;
        }
        for (int64_t v = 0; v < 3; v++) {
          const int64_t c = left + v;

          if (row && c >= 0 && c < s.w) memcpy(to + v * in, row + c * in, (size_t)in * sizeof *to);
          else memset(to + v * in, 0, (size_t)in * sizeof *to);
        }
      }
    }
}

/* The adjoint of gather: patches added to gx. */
static void scatter(const dx_conv *l, const dx_kernels *k, dx_shape s, const float *cols, int64_t first,
                    int64_t rows, float *gx)
{
  const int64_t w = dx_conv_out(l, s).w, stride = stride_of(l), pad = pad_of(l), in = l->in;

  for (int64_t i = 0; i < rows; i++)
    for (int64_t u = 0; u < 3; u++) {
      const int64_t r = (first + i) * stride + u - pad;

      for (int64_t j = 0; j < w && r >= 0 && r < s.h; j++) {
        const int64_t left = j * stride - pad, from = left < 0 ? -left : 0;
        const int64_t to = left + 3 <= s.w ? 3 : s.w - left;
        float *const g = gx + (r * s.w + left + from) * in;

        k->add((to - from) * in, g, cols + ((i * w + j) * 9 + u * 3 + from) * in, g);
      }
    }
}

/* y of one example before the products: bias and base. */
static void start(const dx_conv *l, const dx_pass *p, int64_t pixels, const float *base, const float *example, float *y)
{
  const float *const b = p->w + l->b.at;

  for (int64_t i = 0; i < pixels; i++) {
    float *const row = y + i * l->out;

    if (base) p->kernel->add(l->out, base + i * l->out, b, row);
    else memcpy(row, b, (size_t)l->out * sizeof *row);
    if (example) p->kernel->add(l->out, row, example, row);
  }
}

static void direct_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const dx_shape o = dx_conv_out(l, s);
  const size_t mark = dx_arena_mark(p->work);
  float *const cols = columns(l, s, p->work);
  const float *const wt = p->packed + l->packed;
  const int64_t n = patch_of(l), rows = rows_of(o), each = dx_shape_dim(o);

  for (int64_t b = 0; b < s.b; b++) {
    const float *const xb = x + b * dx_shape_dim(s);

    start(l, p, o.h * o.w, base.pixels ? base.pixels + b * each : NULL,
          base.example ? base.example + b * l->out : NULL, y + b * each);
    for (int64_t i = 0; i < o.h; i += rows) {
      const int64_t m = i + rows <= o.h ? rows : o.h - i;
      const float *const a = cols ? cols : xb + i * o.w * l->in;

      if (cols) gather(l, s, xb, i, m, cols);
      dx_gemm_blis(m * o.w, l->out, n, 1, a, n, 1, wt, l->out, 1, 1, y + b * each + i * o.w * l->out, l->out);
    }
  }
  dx_arena_release(p->work, mark);
}

void dx_conv_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  assert(s.c == l->in && s.h % stride_of(l) == 0 && s.w % stride_of(l) == 0);
  if (is_winograd(l)) dx_winograd_forward(l, p, s, x, base, y);
  else direct_forward(l, p, s, x, base, y);
}

/* Sums of gy over pixels: by example, and over all. */
static void bias_gradient(const dx_conv *l, const dx_pass *p, dx_shape o, const float *gy, float *gexample)
{
  const size_t mark = dx_arena_mark(p->work);
  float *const sum = dx_arena_floats(p->work, l->out), *const gb = p->gw + l->b.at;

  for (int64_t b = 0; b < o.b; b++) {
    float *const total = gexample ? gexample + b * l->out : sum;

    memset(total, 0, (size_t)l->out * sizeof *total);
    p->kernel->add_rows(o.h * o.w, l->out, gy + b * dx_shape_dim(o), l->out, total);
    p->kernel->add(l->out, gb, total, gb);
  }
  dx_arena_release(p->work, mark);
}

static void direct_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const dx_shape o = dx_conv_out(l, s);
  const size_t mark = dx_arena_mark(p->work);
  float *const cols = columns(l, s, p->work), *const gw = p->gw + l->w.at;
  const float *const w = p->w + l->w.at;
  const int64_t n = patch_of(l), rows = rows_of(o);

  for (int64_t b = 0; b < s.b; b++) {
    const float *const xb = x + b * dx_shape_dim(s), *const gyb = gy + b * dx_shape_dim(o);
    float *const gxb = gx ? gx + b * dx_shape_dim(s) : NULL;

    if (gx && cols) memset(gxb, 0, (size_t)dx_shape_dim(s) * sizeof *gxb);
    for (int64_t i = 0; i < o.h; i += rows) {
      const int64_t m = (i + rows <= o.h ? rows : o.h - i) * o.w;
      const float *const g = gyb + i * o.w * l->out, *const a = cols ? cols : xb + i * o.w * l->in;

      if (cols) gather(l, s, xb, i, m / o.w, cols);
      dx_gemm_blis(l->out, n, m, 1, g, 1, l->out, a, n, 1, 1, gw, n);
      if (gx) dx_gemm_blis(m, n, l->out, 1, g, l->out, 1, w, n, 1, 0, cols ? cols : gxb + i * o.w * n, n);
      if (gx && cols) scatter(l, p->kernel, s, cols, i, m / o.w, gxb);
    }
  }
  dx_arena_release(p->work, mark);
}

void dx_conv_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy,
                      float *gx, float *gexample)
{
  bias_gradient(l, p, dx_conv_out(l, s), gy, gexample);
  if (is_winograd(l)) dx_winograd_backward(l, p, s, x, gy, gx);
  else direct_backward(l, p, s, x, gy, gx);
}

void dx_conv_work(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  dx_arena_floats(a, l->out);
  dx_arena_release(a, mark);
  if (is_winograd(l)) dx_winograd_work(l, s, a);
  else columns(l, s, a);
  dx_arena_release(a, mark);
}
