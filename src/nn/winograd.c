/* SPDX-License-Identifier: Apache-2.0 */
/* nn/winograd.c - see winograd.h; the maps stand in kernel/winograd.h.

   y is cut into tiles of 4x4 pixels, which need 6x6 pixels of x. Tiles are numbered over the whole
   pass and go through in blocks: the transformed tiles of a block are V[36][tiles][in], and 36
   products with U[36][in][out] give M[36][tiles][out]. A row of a product has the same bits whatever
   stands in the other rows (kernel.h, gemm), and each tile's result is written, or added to gx, in
   order of the tiles of its example: so an example's bits do not depend on its slot in the pass.

   U stands twice among the packed weights, once for each direction, in panels of PANEL columns: a
   product reads its panel from first to last. Rows of V, M, Z are a few vectors longer than they
   need be: rows a power of two apart would fight for the same lines of the cache. */
#include "nn/winograd.h"

#include <string.h>

enum { BLOCK = 64, PANEL = 32, SLICES = 36, TILE = 4 };

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

/* U of `outs` output channels x `ins` input channels from (o, c) on: a square that fits into the cache
   goes from there to both of its places. */
static void pack_square(const dx_conv *l, const dx_kernels *k, const float *w, float *packed, int64_t o, int64_t outs,
                        int64_t c, int64_t ins)
{
  enum { SLICE = PANEL * PANEL + 16 };
  float u[SLICES * SLICE];

  for (int64_t i = 0; i < outs; i++) k->winograd_u(ins, w + (o + i) * 9 * l->in + c, l->in, u + i * ins, SLICE);
  for (int64_t i = 0; i < SLICES; i++) {
    float *const to = forward_u(l, packed) + i * weights_of(l) + o * l->in + c * outs;
    float *const back = backward_u(l, packed) + i * weights_of(l) + c * l->out + o * ins;

    k->transpose(outs, ins, u + i * SLICE, ins, to, outs);
    memcpy(back, u + i * SLICE, (size_t)(outs * ins) * sizeof *back);
  }
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

/* Slices of gU stand a line more than their size apart, as the rows do. */
static int64_t slice_gu(const dx_conv *l) { return (weights_of(l) + 15) / 16 * 16 + 16; }

static void take_backward(const dx_conv *l, dx_shape s, dx_arena *a, scratch *q)
{
  *q = take(l, s, a);
  q->gv = dx_arena_floats(a, SLICES * q->slice_in);
  q->gu = dx_arena_floats(a, SLICES * slice_gu(l));
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

/* C (tiles,n) = A (tiles,k) U, U in panels. */
static void times_u(const dx_kernels *kernel, int64_t tiles, int64_t n, int64_t k, const float *a, int64_t row_a,
                    const float *u, float *c, int64_t row_c)
{
  for (int64_t j = 0; j < n; j += PANEL) {
    const int64_t width = less(PANEL, n - j);

    kernel->gemm(tiles, width, k, a, row_a, 1, u + j * k, width, c + j, row_c, NULL, DX_GEMM_SET);
  }
}

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
      times_u(p->kernel, tiles, l->out, l->in, q.v + i * q.slice_in, q.row_in, u + i * weights_of(l), q.m + i * q.slice_out, q.row_out);
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

void dx_winograd_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape o = dx_conv_out(l, s);
  const int64_t count = tiling_of(s).count;
  const float *const u = backward_u(l, p->packed);
  float *const gw = p->gw + l->w.at;
  scratch q;

  take_backward(l, s, p->work, &q);
  if (gx) memset(gx, 0, (size_t)dx_shape_count(s) * sizeof *gx);
  for (int64_t first = 0; first < count; first += q.tiles) {
    const int64_t tiles = less(q.tiles, count - first);

    transform_gy(l, p->kernel, o, gy, first, tiles, &q);
    transform_x(l, p->kernel, s, x, first, tiles, &q);
    for (int64_t i = 0; i < SLICES; i++) {
      const float *const z = q.m + i * q.slice_out, *const v = q.v + i * q.slice_in;

      p->kernel->gemm(l->out, l->in, tiles, z, 1, q.row_out, v, q.row_in, q.gu + i * slice_gu(l), l->in, NULL,
                      first ? DX_GEMM_ADD : DX_GEMM_SET);
      if (gx) times_u(p->kernel, tiles, l->in, l->out, z, q.row_out, u + i * weights_of(l), q.gv + i * q.slice_in, q.row_in);
    }
    if (gx) transform_gv(l, p->kernel, s, gx, first, tiles, &q);
  }
  for (int64_t i = 0; i < l->out; i++)
    p->kernel->winograd_gw(l->in, q.gu + i * l->in, slice_gu(l), gw + i * 9 * l->in, l->in);
  dx_arena_release(p->work, mark);
}
