/* SPDX-License-Identifier: Apache-2.0 */
/* nn/winograd.c - see winograd.h; the maps stand in kernel/winograd.h.

   y is cut into tiles of 4x4 pixels, which need 6x6 pixels of x. Tiles are numbered over the whole
   pass and go through in blocks: the transformed tiles of a block are V[36][tiles][in], and 36
   products with U[36][in][out] give M[36][tiles][out]. Backward turns pixels, not weights: Z[36][out][tiles] is packed,
   and U times it is gV[36][in][tiles]; so U, in panels (panels.h), stands once among the packed weights.

   A row of a product, or a column, has the same bits whatever
   stands in the others (kernel.h, gemm), and each tile's result is written, or added to gx, in
   order of the tiles of its example: so an example's bits do not depend on its slot in the pass.

   Rows of V and M of 128 floats and more are a few vectors longer than they need be: rows a power of two apart would fight
   for the same lines of the cache. Shorter ones do not: a block's stand in a few pages. */
#include "nn/winograd.h"

#include <stdbool.h>
#include <string.h>

#include "base/share.h"
#include "nn/panels.h"

enum { BLOCK = 64, PANEL = DX_PANEL, SQUARE = 64, SLICES = 36, TILE = 4, LINE = 16, LONG = 128 };

static int64_t padded(int64_t floats) { return (floats + LINE - 1) / LINE * LINE + (floats < LONG ? 0 : LINE); }
/* Floats from one slice of U to the next: an odd number of lines, for the 36 that are written at once would else fight
   for the same lines of the cache. */
static int64_t slice_of(const dx_conv *l) { return (dx_panels_size(l->out, l->in) / LINE | 1) * LINE; }

/* ---- the weights ---- */

int64_t dx_winograd_packed(const dx_conv *l) { return SLICES * slice_of(l); }

/* The packing of a layer, as a job for the crew sees it. */
typedef struct {
  const dx_conv *l;
  const dx_pass *p;
  float *u;
} packing;

/* U of a panel of output channels and up to as many input channels from (o, c) on: the weights are turned, for there are
   four times as many numbers in U. */
static void pack_square(const packing *q, int64_t o, int64_t c)
{
  const dx_conv *const l = q->l;
  const dx_kernels *const k = q->p->kernel;
  const int64_t outs = dx_min(PANEL, l->out - o), ins = dx_min(PANEL, l->in - c);
  const float *const w = q->p->w + l->w.at + o * 9 * l->in + c;
  float turned[PANEL * 9 * PANEL];

  if (outs < PANEL) memset(turned, 0, sizeof turned);
  for (int64_t tap = 0; tap < 9; tap++)
    k->transpose(outs, ins, w + tap * l->in, 9 * l->in, turned + tap * PANEL, 9 * PANEL);
  k->winograd_u(ins, PANEL, turned, 9 * PANEL, PANEL, q->u + o * l->in + c * PANEL, slice_of(l));
}

static void pack_panels(const void *packing_, int64_t from, int64_t to, int member)
{
  const packing *const q = packing_;

  (void)member;
  for (int64_t i = from; i < to; i++)
    for (int64_t c = 0; c < q->l->in; c += PANEL) pack_square(q, i * PANEL, c);
}

void dx_winograd_pack(const dx_conv *l, const dx_pass *p, float *packed)
{
  const packing q = {l, p, packed + l->packed};

  dx_crew_do(p->crew, dx_panels_in(l->out), pack_panels, &q);
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

  const bool inside = left >= 0 && left + size <= s.w;

  for (int64_t i = 0; i < size; i++, p += size) {
    const bool there = top + i >= 0 && top + i < s.h;
    const float *const row = there ? image + (b * s.h + top + i) * s.w * s.c : NULL;

    if (there && inside)
      for (int64_t j = 0; j < size; j++) p[j] = row + (left + j) * s.c;
    else
      for (int64_t j = 0; j < size; j++) p[j] = there && left + j >= 0 && left + j < s.w ? row + (left + j) * s.c : beside;
  }
}

/* The scratch of a pass. */
typedef struct {
  int64_t tiles, columns;    /* in a block; of its panels */
  int64_t row_v, row_m;      /* floats of a tile in a slice */
  int64_t slice_v, slice_m, slice_z, slice_gv, most;
  float *v, *m, *z, *gv;
  float *zero, *beside;      /* a pixel of zeros; each member's one that nobody reads */
  float *bias;               /* (B,out): of W and of the example */
  float *gu;                 /* each member's where it is not whole */
  bool whole;                /* gU has all channels, else squares of them */
  int64_t outs, ins, slice_gu;
} scratch;

static scratch take(const dx_conv *l, dx_shape s, dx_arena *a)
{
  scratch q = {.tiles = dx_min(BLOCK, tiling_of(s).count), .row_v = padded(l->in), .most = l->in > l->out ? l->in : l->out};

  q.columns = dx_panels_in(q.tiles) * PANEL;
  q.slice_v = q.tiles * q.row_v + LINE;
  q.v = dx_arena_floats(a, SLICES * q.slice_v);
  q.zero = dx_arena_floats(a, q.most);
  q.beside = dx_arena_floats_each(a, q.most);
  if (q.zero) memset(q.zero, 0, (size_t)q.most * sizeof *q.zero);
  for (int i = 0; q.beside && i < dx_arena_members(a); i++)
    memset(dx_arena_of(q.beside, q.most, i), 0, (size_t)q.most * sizeof *q.beside);
  return q;
}

static void take_forward(const dx_conv *l, dx_shape s, dx_arena *a, scratch *q)
{
  *q = take(l, s, a);
  q->row_m = padded(l->out);
  q->slice_m = q->tiles * q->row_m + LINE;
  q->m = dx_arena_floats(a, SLICES * q->slice_m);
  q->bias = dx_arena_floats(a, s.b * l->out);
}

/* gU of a few blocks of tiles is made and used up in squares that stay in the cache; over more blocks
   it is cheaper to sum up all of it. */
static void take_backward(const dx_conv *l, dx_shape s, dx_arena *a, scratch *q)
{
  *q = take(l, s, a);
  q->whole = tiling_of(s).count > 2 * BLOCK;
  q->outs = q->whole ? l->out : dx_min(SQUARE, l->out);
  q->ins = q->whole ? l->in : dx_min(SQUARE, l->in);
  q->slice_gu = padded(q->outs * q->ins);
  q->slice_z = q->columns * l->out + LINE;
  q->z = dx_arena_floats(a, SLICES * q->slice_z);
  q->slice_gv = q->columns * l->in + LINE;
  q->gv = dx_arena_floats(a, SLICES * q->slice_gv);
  q->gu = q->whole ? dx_arena_floats(a, SLICES * q->slice_gu) : dx_arena_floats_each(a, SLICES * q->slice_gu);
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

/* ---- passes: block after block, each by jobs for the crew ---- */

/* A block of tiles on its way. */
typedef struct {
  const dx_conv *l;
  const dx_kernels *kernel;
  const scratch *q;
  const float *u;
  tiling in, out;
  const float *x, *base, *gy;
  float *y, *gx, *gw;
  int64_t first, tiles; /* of all tiles */
  dx_gemm_mode sum;     /* of gU, where it is whole */
} block;

static float *beside_of(const block *b, int member) { return dx_arena_of(b->q->beside, b->q->most, member); }

static void transform_x(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;
  const float *p[36];

  (void)member;
  for (int64_t i = from; i < to; i++) {
    pixels(&b->in, b->x, b->first + i, 1, b->q->zero, p);
    b->kernel->winograd_v(b->l->in, p, b->q->v + i * b->q->row_v, b->q->slice_v);
  }
}

static void multiply_v(const void *block_, int64_t first, int64_t last, int member)
{
  const block *const b = block_;
  const scratch *const q = b->q;

  (void)member;
  for (int64_t i = first; i < last; i++)
    dx_panels_gemm(b->kernel, b->tiles, b->l->out, b->l->in, q->v + i * q->slice_v, q->row_v, b->u + i * slice_of(b->l),
                   q->m + i * q->slice_m, q->row_m, NULL, DX_GEMM_SET);
}

static void transform_m(const void *block_, int64_t first, int64_t last, int member)
{
  const block *const b = block_;
  const scratch *const q = b->q;
  const float *to[16], *from[16];

  for (int64_t i = first; i < last; i++) {
    pixels(&b->out, b->y, b->first + i, 0, beside_of(b, member), to);
    if (b->base) pixels(&b->out, b->base, b->first + i, 0, q->zero, from);
    b->kernel->winograd_y(b->l->out, q->m + i * q->row_m, q->slice_m, q->bias + example_of(&b->out, b->first + i) * b->l->out,
                          b->base ? from : NULL, (float *const *)to);
  }
}

void dx_winograd_forward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, dx_conv_base base, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const float *const bias = p->w + l->b.at;
  scratch q;

  take_forward(l, s, p->work, &q);
  for (int64_t i = 0; i < s.b; i++)
    p->kernel->add(l->out, bias, base.example ? base.example + i * l->out : q.zero, q.bias + i * l->out);
  block b = {.l = l, .kernel = p->kernel, .q = &q, .u = p->packed + l->packed, .in = tiling_of(s), .x = x, .base = base.pixels,
             .out = tiling_of(dx_conv_out(l, s)), .y = y};
  for (; b.first < b.in.count; b.first += q.tiles) {
    b.tiles = dx_min(q.tiles, b.in.count - b.first);
    dx_crew_do(p->crew, b.tiles, transform_x, &b);
    dx_crew_do(p->crew, SLICES, multiply_v, &b);
    dx_crew_do(p->crew, b.tiles, transform_m, &b);
  }
  dx_arena_release(p->work, mark);
}

/* Pointers to the pixels of a panel of tiles of the block; those of a tile that does not exist are `beside`. */
static void panel_pixels(const block *b, const tiling *t, const float *image, int64_t panel, int64_t border, const float *beside,
                         const float **p)
{
  const int64_t each = (TILE + 2 * border) * (TILE + 2 * border);

  for (int64_t i = panel * PANEL; i < (panel + 1) * PANEL; i++, p += each)
    if (i < b->tiles) pixels(t, image, b->first + i, border, beside, p);
    else for (int64_t j = 0; j < each; j++) p[j] = beside;
}

/* A panel of tiles and one of channels each. */
static void transform_gy(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;
  const int64_t out = b->l->out, across = dx_panels_in(out);
  const float *p[16 * PANEL];

  (void)member;
  for (int64_t next; from < to; from = next) {
    const int64_t panel = from / across, c = from % across * PANEL;

    next = dx_min(to, (panel + 1) * across);
    panel_pixels(b, &b->out, b->gy + c, panel, 0, b->q->zero, p);
    b->kernel->winograd_z(dx_min((next - from) * PANEL, out - c), p, b->q->z + (panel * out + c) * PANEL, b->q->slice_z);
  }
}

/* gU of slice i for a square of channels: Z_i V_i. */
static void multiply_z(const block *b, int64_t i, int64_t o, int64_t outs, int64_t c, int64_t ins, float *gu)
{
  const scratch *const q = b->q;

  b->kernel->gemm_packed_a(outs, ins, b->tiles, q->z + i * q->slice_z + o * PANEL, b->l->out * PANEL, q->v + i * q->slice_v + c,
                           q->row_v, gu + i * q->slice_gu, ins, b->sum);
}

static void add_slices(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;

  (void)member;
  for (int64_t i = from; i < to; i++) multiply_z(b, i, 0, b->l->out, 0, b->l->in, b->q->gu);
}

/* Weights of output channels. */
static void finish_weights(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;

  (void)member;
  for (int64_t i = from; i < to; i++)
    b->kernel->winograd_gw(b->l->in, b->q->gu + i * b->l->in, b->q->slice_gu, b->gw + i * 9 * b->l->in, b->l->in);
}

static int64_t squares_across(const block *b) { return (b->l->in + b->q->ins - 1) / b->q->ins; }

static void square_weights(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;
  const scratch *const q = b->q;
  float *const gu = dx_arena_of(q->gu, SLICES * q->slice_gu, member);

  for (int64_t n = from; n < to; n++) {
    const int64_t o = n / squares_across(b) * q->outs, c = n % squares_across(b) * q->ins;
    const int64_t outs = dx_min(q->outs, b->l->out - o), ins = dx_min(q->ins, b->l->in - c);

    for (int64_t i = 0; i < SLICES; i++) multiply_z(b, i, o, outs, c, ins, gu);
    for (int64_t i = 0; i < outs; i++)
      b->kernel->winograd_gw(ins, gu + i * ins, q->slice_gu, b->gw + (o + i) * 9 * b->l->in + c, b->l->in);
  }
}

/* gw += G' gU G of a block of tiles; where gU is whole, once for all, at the last block. */
static void weight_gradient(block *b, dx_crew *crew)
{
  const int64_t down = (b->l->out + b->q->outs - 1) / b->q->outs;

  b->sum = b->q->whole && b->first ? DX_GEMM_ADD : DX_GEMM_SET;
  if (!b->q->whole) {
    dx_crew_do(crew, down * squares_across(b), square_weights, b);
    return;
  }
  dx_crew_do(crew, SLICES, add_slices, b);
  if (b->first + b->tiles == b->in.count) dx_crew_do(crew, b->l->out, finish_weights, b);
}

static void multiply_u(const void *block_, int64_t first, int64_t last, int member)
{
  const block *const b = block_;
  const scratch *const q = b->q;

  (void)member;
  for (int64_t i = first; i < last; i++)
    dx_panels_gemm_both(b->kernel, b->l->in, dx_panels_in(b->tiles) * PANEL, b->l->out, b->u + i * slice_of(b->l),
                        q->z + i * q->slice_z, q->gv + i * q->slice_gv, q->columns);
}

/* Tiles overlap, so each member has channels of its own: LINEs of them. */
static void transform_gv(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;
  const int64_t c = from * LINE, n = dx_min(to * LINE, b->l->in) - c;
  const scratch *const q = b->q;
  const float *p[36 * PANEL];

  for (int64_t i = 0; i < dx_panels_in(b->tiles); i++) {
    panel_pixels(b, &b->in, b->gx + c, i, 1, beside_of(b, member), p);
    b->kernel->winograd_gx(n, q->gv + c * q->columns + i * PANEL, q->columns, q->slice_gv, (float *const *)p);
  }
}

/* Rows of gx. */
static void clear(const void *block_, int64_t from, int64_t to, int member)
{
  const block *const b = block_;
  const int64_t row = b->in.s.w * b->in.s.c;

  (void)member;
  memset(b->gx + from * row, 0, (size_t)((to - from) * row) * sizeof *b->gx);
}

void dx_winograd_backward(const dx_conv *l, const dx_pass *p, dx_shape s, const float *x, const float *gy, float *gx)
{
  const size_t mark = dx_arena_mark(p->work);
  scratch q;

  take_backward(l, s, p->work, &q);
  block b = {.l = l, .kernel = p->kernel, .q = &q, .u = p->packed + l->packed, .in = tiling_of(s), .x = x,
             .out = tiling_of(dx_conv_out(l, s)), .gy = gy, .gx = gx, .gw = p->gw + l->w.at};
  if (gx) dx_crew_do(p->crew, s.b * s.h, clear, &b);
  for (; b.first < b.in.count; b.first += q.tiles) {
    b.tiles = dx_min(q.tiles, b.in.count - b.first);
    dx_crew_do(p->crew, b.tiles, transform_x, &b);
    dx_crew_do(p->crew, dx_panels_in(b.tiles) * dx_panels_in(l->out), transform_gy, &b);
    weight_gradient(&b, p->crew);
    if (!gx) continue;
    dx_crew_do(p->crew, SLICES, multiply_u, &b);
    dx_crew_do(p->crew, (l->in + LINE - 1) / LINE, transform_gv, &b);
  }
  dx_arena_release(p->work, mark);
}
