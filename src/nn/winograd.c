/* SPDX-License-Identifier: Apache-2.0 */
/* nn/winograd.c - see winograd.h; the maps stand in kernel/winograd.h.

   y is cut into tiles of 4x4 pixels, which need 6x6 pixels of x. Tiles are numbered over the whole
   pass and go through in blocks: the transformed tiles of a block are V[36][tiles][in], and 36
   products with U[36][in][out] give M[36][tiles][out]. A row of a product has the same bits whatever
   stands in the other rows (kernel.h, gemm), and each tile's result is written, or added to gx, in
   order of the tiles of its example: so an example's bits do not depend on its slot in the pass.

   U stands twice among the packed weights, once for each direction, in panels
   (panels.h). Rows of V, M, Z are a few vectors longer than they
   need be: rows a power of two apart would fight for the same lines of the cache. */
#include "nn/winograd.h"

#include <stdbool.h>
#include <string.h>

#include "nn/panels.h"

enum { BLOCK = 64, PANEL = DX_PANEL, SQUARE = 64, SLICES = 36, TILE = 4 };

static int64_t row_of(int64_t channels) { return (channels + 15) / 16 * 16 + 16; }
static int64_t weights_of(const dx_conv *l) { return l->in * l->out; }
static int64_t less(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- the weights ---- */

int64_t dx_winograd_packed(const dx_conv *l) { return 2 * SLICES * ((weights_of(l) + 15) / 16 * 16); }

static float *forward_u(const dx_conv *l, const float *packed) { return (float *)packed + l->packed; }
static float *backward_u(const dx_conv *l, const float *packed)
{
  return (float *)packed + l->packed + dx_winograd_packed(l) / 2;
}

/* U of `outs` output channels x `ins` input channels from (o, c) on, into its place for either direction: the weights
   are turned, for there are four times as many numbers in U. */
static void pack_square(const dx_conv *l, const dx_kernels *k, const float *w, float *packed, int64_t o, int64_t outs,
                        int64_t c, int64_t ins)
{
  float *const to = forward_u(l, packed) + o * l->in + c * outs, *const back = backward_u(l, packed) + c * l->out + o * ins;
  float turned[PANEL * 9 * PANEL];

  for (int64_t tap = 0; tap < 9; tap++)
    k->transpose(outs, ins, w + o * 9 * l->in + tap * l->in + c, 9 * l->in, turned + tap * outs, 9 * outs);
  for (int64_t i = 0; i < ins; i++) k->winograd_u(outs, turned + i * 9 * outs, outs, to + i * outs, weights_of(l));
  for (int64_t i = 0; i < outs; i++) k->winograd_u(ins, w + (o + i) * 9 * l->in + c, l->in, back + i * ins, weights_of(l));
}

void dx_winograd_pack(const dx_conv *l, const dx_kernels *k, const float *w, float *packed)
{
  for (int64_t o = 0; o < l->out; o += PANEL)
    for (int64_t c = 0; c < l->in; c += PANEL)
      pack_square(l, k, w + l->w.at, packed, o, less(PANEL, l->out - o), c, less(PANEL, l->in - c));
}

/* ---- tiles ---- */

typedef struct {
  dx_shape s; /* of the image; c: its channels */
  int64_t down, across, count;
} tiling;

static tiling tiling_of(dx_shape s)
{
  const int64_t down = (s.h + TILE - 1) / TILE, across = (s.w + TILE - 1) / TILE;

  return (tiling){s, down, across, s.b * down * across};
}

static int64_t example_of(const tiling *t, int64_t tile) { return tile / (t->down * t->across); }

/* Pointers to the size x size pixels of an image around a tile, `border` of them on each side;
   pixels that do not exist are `beside`. */
static void pixels(const tiling *t, const float *image, int64_t tile, int64_t border, const float *beside, const float **p)
{
  const dx_shape s = t->s;
  const int64_t b = example_of(t, tile), at = tile - b * t->down * t->across, size = TILE + 2 * border;
  const int64_t top = at / t->across * TILE - border, left = at % t->across * TILE - border;

  for (int64_t i = 0; i < size; i++)
    for (int64_t j = 0; j < size; j++) {
      const int64_t y = top + i, x = left + j;
      const int there = y >= 0 && y < s.h && x >= 0 && x < s.w;

      p[size * i + j] = there ? image + ((b * s.h + y) * s.w + x) * s.c : beside;
    }
}

/* The scratch of a pass. */
typedef struct {
  int64_t tiles;             /* in a block */
  int64_t row_in, row_out;   /* floats of a tile in a slice */
  int64_t slice_in, slice_out;
  float *v, *m;              /* x or gV; M or Z */
  float *zero, *beside;      /* a pixel of zeros, one that nobody reads */
  float *bias;               /* (B,out): of W and of the example */
  float *gv, *gu;
  bool whole;                /* gU has all channels, else squares of them */
  int64_t outs, ins, slice_gu;
} scratch;

static scratch take(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const int64_t most = l->in > l->out ? l->in : l->out;
  scratch q = {.tiles = less(BLOCK, tiling_of(s).count), .row_in = row_of(l->in), .row_out = row_of(l->out)};

  q.slice_in = q.tiles * q.row_in + 16;
  q.slice_out = q.tiles * q.row_out + 16;
  q.v = dx_arena_floats(a, SLICES * q.slice_in);
  q.m = dx_arena_floats(a, SLICES * q.slice_out);
  q.zero = dx_arena_floats(a, most);
  q.beside = dx_arena_floats(a, most);
  if (q.zero) memset(q.zero, 0, (size_t)most * sizeof *q.zero);
  if (q.beside) memset(q.beside, 0, (size_t)most * sizeof *q.beside);
  return q;
}

static void take_forward(const dx_conv *l, dx_shape s, dx_arena *a, scratch *q)
{
  *q = take(l, s, a);
  q->bias = dx_arena_floats(a, s.b * l->out);
}

/* gU of a few blocks of tiles is made and used up in squares that stay in the cache; over more blocks
   it is cheaper to sum up all of it. */
static void take_backward(const dx_conv *l, dx_shape s, dx_arena *a, scratch *q)
{
  *q = take(l, s, a);
  q->whole = tiling_of(s).count > 2 * BLOCK;
  q->outs = q->whole ? l->out : less(SQUARE, l->out);
  q->ins = q->whole ? l->in : less(SQUARE, l->in);
  q->slice_gu = (q->outs * q->ins + 15) / 16 * 16 + 16;
  q->gv = dx_arena_floats(a, SLICES * q->slice_in);
  q->gu = dx_arena_floats(a, SLICES * q->slice_gu);
}

void dx_winograd_work(const dx_conv *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);
  scratch q;

  take_forward(l, s, a, &q);
  dx_arena_release(a, mark);
  take_backward(l, s, a, &q);
  dx_arena_release(a, mark);
}

/* ---- passes ---- */

static void transform_x(const dx_conv *l, const dx_kernels *k, dx_shape s, const float *x, int64_t first, int64_t tiles,
                        const scratch *q)
{
  const tiling t = tiling_of(s);
  const float *p[36];

  for (int64_t i = 0; i < tiles; i++) {
    pixels(&t, x, first + i, 1, q->zero, p);
    k->winograd_v(l->in, p, q->v + i * q->row_in, q->slice_in);
  }
}

static void transform_m(const dx_conv *l, const dx_kernels *k, dx_shape o, const float *base, float *y, int64_t first,
                        int64_t tiles, const scratch *q)
{
  const tiling t = tiling_of(o);
  const float *to[16], *from[16];

  for (int64_t i = 0; i < tiles; i++) {
    pixels(&t, y, first + i, 0, q->beside, to);
    if (base) pixels(&t, base, first + i, 0, q->zero, from);
    k->winograd_y(l->out, q->m + i * q->row_out, q->slice_out, q->bias + example_of(&t, first + i) * l->out,
                  base ? from : NULL, (float *const *)to);
  }
}

void dx_winograd_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape o = dx_conv_out(l, s);
  const int64_t count = tiling_of(s).count;
  const float *const u = forward_u(l, p->packed), *const b = p->w + l->b.at;
  scratch q;

  take_forward(l, s, p->work, &q);
  for (int64_t i = 0; i < s.b; i++) p->kernel->add(l->out, b, base.example ? base.example + i * l->out : q.zero, q.bias + i * l->out);
  for (int64_t first = 0; first < count; first += q.tiles) {
    const int64_t tiles = less(q.tiles, count - first);

    transform_x(l, p->kernel, s, x, first, tiles, &q);
    for (int64_t i = 0; i < SLICES; i++)
      dx_panels_gemm(p->kernel, tiles, l->out, l->in, q.v + i * q.slice_in, q.row_in, u + i * weights_of(l),
                     q.m + i * q.slice_out, q.row_out, NULL, DX_GEMM_SET);
    transform_m(l, p->kernel, o, base.pixels, y, first, tiles, &q);
  }
  dx_arena_release(p->work, mark);
}

static void transform_gy(const dx_conv *l, const dx_kernels *k, dx_shape o, const float *gy, int64_t first, int64_t tiles,
                         const scratch *q)
{
  const tiling t = tiling_of(o);
  const float *p[16];

  for (int64_t i = 0; i < tiles; i++) {
    pixels(&t, gy, first + i, 0, q->zero, p);
    k->winograd_z(l->out, p, q->m + i * q->row_out, q->slice_out);
  }
}

static void transform_gv(const dx_conv *l, const dx_kernels *k, dx_shape s, float *gx, int64_t first, int64_t tiles,
                         const scratch *q)
{
  const tiling t = tiling_of(s);
  const float *p[36];

  for (int64_t i = 0; i < tiles; i++) {
    pixels(&t, gx, first + i, 1, q->beside, p);
    k->winograd_gx(l->in, q->gv + i * q->row_in, q->slice_in, (float *const *)p);
  }
}

/* gw += G' (Z_i' V_i) G of a block of tiles; where gU is whole, once for all, at the last block. */
static void weight_gradient(const dx_conv *l, const dx_kernels *k, int64_t tiles, const scratch *q, bool first, bool last,
                            float *gw)
{
  const dx_gemm_mode mode = q->whole && !first ? DX_GEMM_ADD : DX_GEMM_SET;

  for (int64_t o = 0; o < l->out; o += q->outs)
    for (int64_t c = 0; c < l->in; c += q->ins) {
      const int64_t outs = less(q->outs, l->out - o), ins = less(q->ins, l->in - c);

      for (int64_t i = 0; i < SLICES; i++)
        k->gemm(outs, ins, tiles, q->m + i * q->slice_out + o, 1, q->row_out, q->v + i * q->slice_in + c, q->row_in,
                q->gu + i * q->slice_gu, ins, NULL, mode);
      for (int64_t i = 0; i < outs && (last || !q->whole); i++)
        k->winograd_gw(ins, q->gu + i * ins, q->slice_gu, gw + (o + i) * 9 * l->in + c, l->in);
    }
}

void dx_winograd_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape o = dx_conv_out(l, s);
  const int64_t count = tiling_of(s).count;
  const float *const u = backward_u(l, p->packed);
  scratch q;

  take_backward(l, s, p->work, &q);
  if (gx) memset(gx, 0, (size_t)dx_shape_count(s) * sizeof *gx);
  for (int64_t first = 0; first < count; first += q.tiles) {
    const int64_t tiles = less(q.tiles, count - first);

    transform_gy(l, p->kernel, o, gy, first, tiles, &q);
    transform_x(l, p->kernel, s, x, first, tiles, &q);
    weight_gradient(l, p->kernel, tiles, &q, first == 0, first + tiles == count, p->gw + l->w.at);
    if (!gx) continue;
    for (int64_t i = 0; i < SLICES; i++)
      dx_panels_gemm(p->kernel, tiles, l->in, l->out, q.m + i * q.slice_out, q.row_out, u + i * weights_of(l),
                     q.gv + i * q.slice_in, q.row_in, NULL, DX_GEMM_SET);
    transform_gv(l, p->kernel, s, gx, first, tiles, &q);
  }
  dx_arena_release(p->work, mark);
}
