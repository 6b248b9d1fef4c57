/* SPDX-License-Identifier: Apache-2.0 */
/* nn/conv.c - see conv.h.

     y_o(i) = b_o + sum over (u, v, c) of W_o(u, v, c) x_c(stride i + (u, v) - pad)

   Three ways. By patches: with cols (pixels of y, 3 3 in) holding the patch of x under each pixel, for
   1x1 x itself,

     y  = cols W^T           gcols = gy W, added back to where the patches came from
     gW = gy^T cols          gb    = sum over pixels of gy

   By shifts, where the outputs are few: the product comes first, t = x W^T with W as (9 out, in), and y
   is the sum of the nine parts of t, shifted; gt holds gy shifted, gx = gt W, gW = gt^T x. The third,
   nn/winograd.c, serves 3x3 of stride 1 with enough channels.

   Pixels go through in blocks, whatever example they belong to: a row of a product has the same bits
   whatever stands in the others (kernel.h, gemm), so an example's bits do not depend on its slot. */
#include "nn/conv.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/share.h"
#include "nn/panels.h"
#include "nn/winograd.h"

enum {
  BLOCK = 256,  /* pixels per product, at most, rounded up to a row: the patches stay in cache */
  LINE = 16,    /* channels that a member of the crew has at the least */
  CHANNELS = 8, /* with fewer, Winograd's transforms cost more than the products that they save */
};

static int size_of(const dx_conv *l) { return l->kind == DX_CONV_1 ? 1 : 3; }
static int64_t stride_of(const dx_conv *l) { return l->kind == DX_CONV_3_HALF || l->kind == DX_CONV_3_HALF_1 ? 2 : 1; }
static int64_t pad_of(const dx_conv *l) { return l->kind == DX_CONV_1 || l->kind == DX_CONV_3_HALF ? 0 : 1; }
static int64_t patch_of(const dx_conv *l) { return size_of(l) * size_of(l) * l->in; }

/* W as a matrix, the factor of its way. */
static int64_t rows_of_w(const dx_conv *l) { return l->way == DX_CONV_SHIFTS ? 9 * l->out : l->out; }
static int64_t columns_of_w(const dx_conv *l) { return l->way == DX_CONV_SHIFTS ? l->in : patch_of(l); }

static dx_conv_way way_of(const dx_conv *l)
{
  if (l->kind != DX_CONV_3 || l->in < CHANNELS) return DX_CONV_PATCHES;
  return l->out < CHANNELS ? DX_CONV_SHIFTS : DX_CONV_WINOGRAD;
}

/* Floats of W for each direction, where these are two. */
static int64_t forward_packed(const dx_conv *l) { return dx_panels_size(rows_of_w(l), columns_of_w(l)); }
static int64_t backward_packed(const dx_conv *l) { return dx_panels_size(columns_of_w(l), rows_of_w(l)); }

dx_error *dx_conv_init(dx_conv *l, dx_params *p, int64_t *packed, const char *name, dx_conv_kind kind,
                       int64_t in, int64_t out)
{
  *l = (dx_conv){.kind = kind, .in = in, .out = out, .packed = *packed};
  l->way = way_of(l);
  const int size = size_of(l);
  const double bound = 1 / sqrt((double)patch_of(l));
  dx_param_entry w = {.dims = 4, .dim = {out, size, size, in}, .bound = bound};
  dx_param_entry b = {.dims = 1, .dim = {out}, .bound = bound};

  *packed += l->way == DX_CONV_WINOGRAD ? dx_winograd_packed(l) : forward_packed(l) + backward_packed(l);
  snprintf(w.name, sizeof w.name, "%s.w", name);
  snprintf(b.name, sizeof b.name, "%s.b", name);
  DX_TRY(dx_params_add(p, &w, &l->w));
  return dx_params_add(p, &b, &l->b);
}

static const float *forward_w(const dx_conv *l, const dx_pass *p) { return p->packed + l->packed; }
static const float *backward_w(const dx_conv *l, const dx_pass *p) { return p->packed + l->packed + forward_packed(l); }

void dx_conv_pack(const dx_conv *l, const dx_pass *p, dx_pass_kind kind, float *packed)
{
  const int64_t rows = rows_of_w(l), columns = columns_of_w(l);

  if (l->way == DX_CONV_WINOGRAD) {
    dx_winograd_pack(l, p, packed);
    return;
  }
  dx_panels_pack_turned(p->kernel, rows, columns, p->w + l->w.at, packed + l->packed);
  if (kind == DX_PASS_TRAIN) dx_panels_pack(columns, rows, p->w + l->w.at, packed + l->packed + forward_packed(l));
}

dx_shape dx_conv_out(const dx_conv *l, dx_shape x)
{
  return (dx_shape){x.b, x.h / stride_of(l), x.w / stride_of(l), l->out};
}

/* ---- by patches ---- */

/* Rows of y per product, of all examples. */
static int64_t rows_of(dx_shape y) { return dx_min((BLOCK + y.w - 1) / y.w, y.b * y.h); }

/* Patches of a block: each member's in forward, the crew's in backward. */
static float *columns(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const dx_shape y = dx_conv_out(l, s);

  return l->kind == DX_CONV_1 ? NULL : dx_arena_floats_each(a, rows_of(y) * y.w * patch_of(l));
}

/* The row of x, of all examples, seen with the patch's row u for row i of y; -1 where it does not exist. */
static int64_t row_under(const dx_conv *l, dx_shape s, int64_t i, int64_t u)
{
  const int64_t h = dx_conv_out(l, s).h, r = i % h * stride_of(l) + u - pad_of(l);

  return r < 0 || r >= s.h ? -1 : i / h * s.h + r;
}

/* Patches under rows [first, first + rows) of y. */
static void gather(const dx_conv *l, dx_shape s, const float *x, int64_t first, int64_t rows, float *cols)
{
  const int64_t w = dx_conv_out(l, s).w, stride = stride_of(l), pad = pad_of(l), in = l->in;

  for (int64_t i = 0; i < rows; i++)
    for (int64_t u = 0; u < 3; u++) {
      const int64_t r = row_under(l, s, first + i, u);
      const float *const row = x + r * s.w * in;

      for (int64_t j = 0; j < w; j++) {
        float *const to = cols + ((i * w + j) * 9 + u * 3) * in;
        const int64_t left = j * stride - pad;

        if (r >= 0 && left >= 0 && left + 3 <= s.w) {
          memcpy(to, row + left * in, (size_t)(3 * in) * sizeof *to);
          continue;
        }
        for (int64_t v = 0; v < 3; v++) {
          const int64_t c = left + v;

          if (r >= 0 && c >= 0 && c < s.w) memcpy(to + v * in, row + c * in, (size_t)in * sizeof *to);
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
      const int64_t r = row_under(l, s, first + i, u);

      for (int64_t j = 0; j < w && r >= 0; j++) {
        const int64_t left = j * stride - pad, from = left < 0 ? -left : 0, to = dx_min(3, s.w - left);
        float *const g = gx + (r * s.w + left + from) * in;

        k->add((to - from) * in, g, cols + ((i * w + j) * 9 + u * 3 + from) * in, g);
      }
    }
}

/* A convolution by patches, as jobs for the crew see it. */
typedef struct {
  const dx_conv *l;
  const dx_pass *p;
  dx_shape s;
  const float *x, *gy;
  dx_conv_base base;
  float *y, *gx, *cols; /* cols: each member's in forward, the block's in backward */
  int64_t first, rows;  /* of the block */
} patches;

/* y before the products: bias and base. Rows of y. */
static void start(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;
  const dx_shape o = dx_conv_out(q->l, q->s);
  const float *const b = q->p->w + q->l->b.at;

  (void)member;
  for (int64_t i = from * o.w; i < to * o.w; i++) {
    float *const row = q->y + i * o.c;

    if (q->base.pixels) q->p->kernel->add(o.c, q->base.pixels + i * o.c, b, row);
    else memcpy(row, b, (size_t)o.c * sizeof *row);
    if (q->base.example) q->p->kernel->add(o.c, row, q->base.example + i / (o.h * o.w) * o.c, row);
  }
}

/* Rows of y, some at a time. */
static void multiply_patches(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;
  const dx_conv *const l = q->l;
  const dx_shape o = dx_conv_out(l, q->s);
  const bool bare = !q->base.pixels && !q->base.example;
  const int64_t n = patch_of(l), rows = rows_of(o);
  float *const cols = q->cols ? dx_arena_of(q->cols, rows * o.w * n, member) : NULL;

  if (!bare) start(q, from, to, member);
  for (int64_t i = from; i < to; i += rows) {
    const int64_t m = dx_min(rows, to - i);

    if (cols) gather(l, q->s, q->x, i, m, cols);
    dx_panels_gemm(q->p->kernel, m * o.w, l->out, n, cols ? cols : q->x + i * o.w * n, n, forward_w(l, q->p),
                   q->y + i * o.w * l->out, l->out, q->p->w + l->b.at, bare ? DX_GEMM_BIAS : DX_GEMM_ADD);
  }
}

static void patches_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const dx_shape o = dx_conv_out(l, s);
  const patches q = {.l = l, .p = p, .s = s, .x = x, .base = base, .y = y, .cols = columns(l, s, p->work)};

  dx_crew_do(p->crew, o.b * o.h, multiply_patches, &q);
}

/* What the block's row i of y reads: the patches, or x itself. */
static float *patches_of_row(const patches *q, int64_t i)
{
  const int64_t row = dx_conv_out(q->l, q->s).w * patch_of(q->l);

  return q->cols ? q->cols + i * row : (float *)q->x + (q->first + i) * row;
}

static void gather_rows(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;

  (void)member;
  gather(q->l, q->s, q->x, q->first + from, to - from, patches_of_row(q, from));
}

/* Weights of output channels, from all pixels of the block. */
static void patches_weights(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;
  const dx_conv *const l = q->l;
  const int64_t n = patch_of(l), w = dx_conv_out(l, q->s).w;

  (void)member;
  q->p->kernel->gemm(to - from, n, q->rows * w, q->gy + q->first * w * l->out + from, 1, l->out, patches_of_row(q, 0), n,
                     q->p->gw + l->w.at + from * n, n, NULL, DX_GEMM_ADD);
}

/* The gradient of the block's rows of patches, in their place, or of x. */
static void patches_gradient(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;
  const dx_conv *const l = q->l;
  const int64_t n = patch_of(l), w = dx_conv_out(l, q->s).w, at = q->first + from;

  (void)member;
  dx_panels_gemm(q->p->kernel, (to - from) * w, n, l->out, q->gy + at * w * l->out, l->out, backward_w(l, q->p),
                 q->cols ? q->cols + from * w * n : q->gx + at * w * n, n, NULL, DX_GEMM_SET);
}

static void patches_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const dx_shape o = dx_conv_out(l, s);
  patches q = {.l = l, .p = p, .s = s, .x = x, .gy = gy, .gx = gx, .cols = columns(l, s, p->work)};

  if (gx && q.cols) memset(gx, 0, (size_t)dx_shape_count(s) * sizeof *gx);
  for (; q.first < o.b * o.h; q.first += q.rows) {
    q.rows = dx_min(rows_of(o), o.b * o.h - q.first);
    if (q.cols) dx_crew_do(p->crew, q.rows, gather_rows, &q);
    dx_crew_do(p->crew, l->out, patches_weights, &q);
    if (!gx) continue;
    dx_crew_do(p->crew, q.rows, patches_gradient, &q);
    if (q.cols) scatter(l, p->kernel, s, q.cols, q.first, q.rows, gx);
  }
}

/* ---- by shifts: 3x3 of stride 1, one example after the other ---- */

static float *parts(const dx_conv *l, dx_shape s, dx_arena *a) { return dx_arena_floats_each(a, s.h * s.w * 9 * l->out); }

/* y(i, j) += sum of t(i + u - 1, j + v - 1), part (u, v) of each output channel's nine; or, back, t = those of y. */
static void shift(const dx_conv *l, dx_shape s, float *t, float *y, bool back)
{
  for (int64_t i = 0; i < s.h; i++)
    for (int64_t j = 0; j < s.w; j++)
      for (int64_t u = 0; u < 3; u++)
        for (int64_t v = 0; v < 3; v++) {
          const int64_t r = i + u - 1, q = j + v - 1;

          if (r < 0 || q < 0 || r >= s.h || q >= s.w) continue;
          float *const part = t + (r * s.w + q) * 9 * l->out + 3 * u + v, *const pixel = y + (i * s.w + j) * l->out;
          for (int64_t c = 0; c < l->out; c++)
            if (back) part[9 * c] = pixel[c];
            else pixel[c] += part[9 * c];
        }
}

static void shift_examples(const void *patches_, int64_t from, int64_t to, int member)
{
  const patches *const q = patches_;
  const dx_conv *const l = q->l;
  const int64_t n = rows_of_w(l), each = q->s.h * q->s.w;
  float *const t = dx_arena_of(q->cols, each * n, member);

  start(q, from * q->s.h, to * q->s.h, member);
  for (int64_t b = from; b < to; b++) {
    dx_panels_gemm(q->p->kernel, each, n, l->in, q->x + b * each * l->in, l->in, forward_w(l, q->p), t, n, NULL, DX_GEMM_SET);
    shift(l, q->s, t, q->y + b * each * l->out, false);
  }
}

static void shifts_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const patches q = {.l = l, .p = p, .s = s, .x = x, .base = base, .y = y, .cols = parts(l, s, p->work)};

  dx_crew_do(p->crew, s.b, shift_examples, &q);
}

static void shifts_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const int64_t n = rows_of_w(l), each = s.h * s.w;
  float *const t = parts(l, s, p->work);

  memset(t, 0, (size_t)(each * n) * sizeof *t); /* the border's parts stay zero */
  for (int64_t b = 0; b < s.b; b++) {
    shift(l, s, t, (float *)gy + b * each * l->out, true);
    p->kernel->gemm(n, l->in, each, t, 1, n, x + b * each * l->in, l->in, p->gw + l->w.at, l->in, NULL, DX_GEMM_ADD);
    if (gx) dx_panels_gemm(p->kernel, each, l->in, n, t, n, backward_w(l, p), gx + b * each * l->in, l->in, NULL, DX_GEMM_SET);
  }
}

/* ---- all ways ---- */

static const char *name_of(const dx_conv *l)
{
  static const char *const names[] = {
    [DX_CONV_PATCHES] = "conv patches", [DX_CONV_SHIFTS] = "conv shifts", [DX_CONV_WINOGRAD] = "conv winograd"};

  return l->kind == DX_CONV_1 ? "conv 1x1" : names[l->way];
}

/* A call that ended: products counts those with W, of which backward has one for gw and one for gx. */
static void tell(const dx_conv *l, const dx_pass *p, dx_shape s, int products, bool backward, double begin)
{
  const dx_shape o = dx_conv_out(l, s);
  const double w = (double)(l->out * patch_of(l)), pixels = (double)(o.b * o.h * o.w);

  dx_profile_end(p->profile, (dx_profile_row){.kind = name_of(l), .backward = backward, .at = l->w.at,
    .flops = 2 * products * pixels * w,
    .bytes = 4.0 * products * ((double)dx_shape_count(s) + (double)dx_shape_count(o) + w)}, begin);
}

void dx_conv_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const double begin = dx_profile_begin(p->profile);

  assert(s.c == l->in && s.h % stride_of(l) == 0 && s.w % stride_of(l) == 0);
  switch (l->way) {
  case DX_CONV_PATCHES: patches_forward(l, p, s, x, base, y); break;
  case DX_CONV_SHIFTS: shifts_forward(l, p, s, x, base, y); break;
  case DX_CONV_WINOGRAD: dx_winograd_forward(l, p, s, x, base, y); break;
  }
  tell(l, p, s, 1, false, begin);
  dx_arena_release(p->work, mark);
}

typedef struct {
  const dx_kernels *kernel;
  dx_shape o;
  const float *gy;
  float *sum, *gb;
  bool by_example; /* sum (B,out), else (out) of one example after the other */
} bias_sums;

/* Sums of gy over pixels, by example, and then over all: of LINEs of channels. */
static void sum_pixels(const void *bias_sums_, int64_t from, int64_t to, int member)
{
  const bias_sums *const q = bias_sums_;
  const int64_t c = from * LINE, n = dx_min(to * LINE, q->o.c) - c;

  (void)member;
  for (int64_t b = 0; b < q->o.b; b++) {
    float *const total = q->sum + (q->by_example ? b * q->o.c : 0) + c;

    memset(total, 0, (size_t)n * sizeof *total);
    q->kernel->add_rows(q->o.h * q->o.w, n, q->gy + b * dx_shape_dim(q->o) + c, q->o.c, total);
    q->kernel->add(n, q->gb + c, total, q->gb + c);
  }
}

static void bias_gradient(const dx_conv *l, const dx_pass *p, dx_shape o, const float *gy, float *gexample)
{
  const size_t mark = dx_arena_mark(p->work);
  float *const sum = dx_arena_floats(p->work, l->out);
  const bias_sums q = {.kernel = p->kernel, .o = o, .gy = gy, .sum = gexample ? gexample : sum, .gb = p->gw + l->b.at,
                       .by_example = gexample != NULL};

  dx_crew_do(p->crew, (l->out + LINE - 1) / LINE, sum_pixels, &q);
  dx_arena_release(p->work, mark);
}

void dx_conv_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy,
                      float *gx, float *gexample)
{
  const size_t mark = dx_arena_mark(p->work);
  const double begin = dx_profile_begin(p->profile);

  bias_gradient(l, p, dx_conv_out(l, s), gy, gexample);
  switch (l->way) {
  case DX_CONV_PATCHES: patches_backward(l, p, s, x, gy, gx); break;
  case DX_CONV_SHIFTS: shifts_backward(l, p, s, x, gy, gx); break;
  case DX_CONV_WINOGRAD: dx_winograd_backward(l, p, s, x, gy, gx); break;
  }
  tell(l, p, s, gx ? 2 : 1, true, begin);
  dx_arena_release(p->work, mark);
}

void dx_conv_work(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  dx_arena_floats(a, l->out);
  dx_arena_release(a, mark);
  switch (l->way) {
  case DX_CONV_PATCHES: columns(l, s, a); break;
  case DX_CONV_SHIFTS: parts(l, s, a); break;
  case DX_CONV_WINOGRAD: dx_winograd_work(l, s, a); break;
  }
  dx_arena_release(a, mark);
}
