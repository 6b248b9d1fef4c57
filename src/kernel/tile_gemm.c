/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/tile_gemm.c - products of floats on tiles of bf16 (AMX), as accurate as those of floats.

   A float has 24 bits of significand and a bf16 has 8, so three of them, high + mid + low, are the float exactly. Of the nine
   products of parts of a and b the six largest are summed; what is left out is below 2^-21 |ab|, 2^-24 |ab| as a rule. The
   tiles round to float once after 32 products of bf16, so the sum of all six is rounded more seldom than one of floats.

   c_ij depends on row i of A, column j of B, k, the mode and the start alone: each sum is made in the same order wherever
   it stands in a call. Tiles read and write denormal numbers as 0: a, b and ab have all their bits above 2^-110. What is not
   finite gives something that is not finite, often a NaN.

   Up to 64 rows of A are split at a time, for as much of k as stays in the first cache. Then each 16 columns of B are
   multiplied, and the next square of B is split meanwhile: vectors and tiles work at the same time. */
#include "kernel/vector.h"

#include <string.h>

/* Rows of a tile; k of a tile, as pairs; tiles of sums, below each other; a row of a tile. */
enum { TILE = 16, STEP = 32, PARTS = 3, TILES = 4, ROW_BYTES = 64 };
enum { SQUARES = 8, FEWEST = SQUARES / TILES }; /* of A that are split at a time; steps of that */
/* k after which a sum grows by sums of FEWEST steps, for which the tiles start with 0; k below which floats are faster. */
enum { SUM = 512, SMALL = 16 };
_Static_assert((int)TILE == DX_PANEL, "a panel is a tile wide");
_Static_assert(SUM % (SQUARES * STEP) == 0, "runs of k, whose length depends on m, end at SUM");

/* 16 x 32 numbers of A, or 32 x 16 of B, as three tiles: row r of A's holds the pairs (l, l + 16) of its row, l = 0..15;
   row l of B's the pair (l, l + 16) of each column. So neither needs its numbers in another order. */
typedef struct { _Alignas(64) uint16_t part[PARTS][TILE][STEP]; } square;

/* The numbers of a square: the first of each pair of row r from x + r row on, the second `half` further. ahead: floats to
   what is fetched for later, or 0. */
typedef struct {
  const float *x;
  int64_t row, half, ahead;
} source;

typedef struct {
  int64_t m, n, k;
  const float *a, *b, *bias;
  float *c;
  int64_t ras, cas, rb, rc;
  bool packed;
  dx_gemm_mode mode;
} product;

/* Rows of C from i on, 16 for each tile, and a run of k from l on. */
typedef struct {
  const product *q;
  int64_t i, l, steps;
  int tiles;
  int64_t next_j, next_step; /* of B: split next */
  int used;                  /* which of b is multiplied */
  square b[2], a[SQUARES];   /* a: (steps, tiles) */
} strip;

/* To a compiler the load of a tile reads no memory. */
INLINE void fence(void) { __asm__ volatile("" ::: "memory"); }

INLINE int64_t less(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- parts ---- */

/* The upper halves, of x0 in the lower one. Cut off, not rounded, so that the largest numbers stay finite. */
INLINE __m512i pairs(__m512i x0, __m512i x1) { return _mm512_mask_mov_epi16(_mm512_srli_epi32(x0, 16), 0xAAAAAAAA, x1); }

INLINE __m512i rest(__m512i x)
{
  const __m512i upper = _mm512_and_si512(x, _mm512_set1_epi32((int)0xFFFF0000));

  return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(upper)));
}

INLINE void split_rows(const source *s, int from, int to, square *out)
{
  fence();
  UNROLL
  for (int r = from; r < to; r++) {
    const float *const x = s->x + r * s->row;
    __m512i x0 = _mm512_loadu_si512(x), x1 = _mm512_loadu_si512(x + s->half);

    if (s->ahead) {
      __builtin_prefetch(x + s->ahead, 0, 2);
      __builtin_prefetch(x + s->half + s->ahead, 0, 2);
    }
    UNROLL
    for (int p = 0; p < PARTS; p++) {
      _mm512_store_si512(out->part[p][r], pairs(x0, x1));
      x0 = rest(x0);
      x1 = rest(x1);
    }
  }
  fence();
}

/* One of `of` equal shares of the rows. */
INLINE void split_share(const source *s, int share, int of, square *out)
{
  if (share < of) split_rows(s, TILE * share / of, TILE * (share + 1) / of, out);
}

/* A square of A, where it stands or, turned or with zeros beside it, in room. */
static source source_a(const product *q, int64_t i, int64_t l, const dx_kernels *avx512, float room[TILE][STEP])
{
  const int64_t rows = less(TILE, q->m - i), deep = less(STEP, q->k - l);
  const float *const a = q->a + i * q->ras + l * q->cas;

  if (q->cas == 1 && rows == TILE && deep == STEP) return (source){a, q->ras, TILE, 0};
  if (rows < TILE || deep < STEP) memset(room, 0, TILE * sizeof *room);
  if (q->cas == 1)
    for (int64_t r = 0; r < rows; r++) memcpy(room[r], a + r * q->ras, (size_t)deep * sizeof *a);
  else if (q->ras == 1) avx512->transpose(deep, rows, a, q->cas, room[0], STEP);
  else
    for (int64_t r = 0; r < rows; r++)
      for (int64_t d = 0; d < deep; d++) room[r][d] = a[r * q->ras + d * q->cas];
  return (source){room[0], STEP, TILE, 0};
}

static void copy_b(const float *b, int64_t rb, int64_t deep, mask lanes, float room[STEP][TILE])
{
  for (int64_t d = 0; d < STEP; d++) store(room[d], d < deep ? load_some(lanes, b + d * rb) : spread(0));
}

/* The next square of B, in the same way; at the end the last one again. Of packed B the same place of the next panel is
   fetched. */
INLINE source source_b(strip *s, float room[STEP][TILE])
{
  const product *const q = s->q;
  const int64_t j = s->next_j, l = s->l + s->next_step * STEP, columns = less(TILE, q->n - j), deep = less(STEP, q->k - l);
  const int64_t rb = q->packed ? columns : q->rb;
  const float *const b = q->b + (q->packed ? j * q->k : j) + l * rb;

  if (s->next_step + 1 < s->steps) s->next_step++;
  else if (j + TILE < q->n) {
    s->next_step = 0;
    s->next_j += TILE;
  }
  if (columns == TILE && deep == STEP) return (source){b, rb, TILE * rb, q->packed ? TILE * q->k : 0};
  copy_b(b, rb, deep, first_lanes(columns), room);
  return (source){room[0], TILE, TILE * TILE, 0};
}

/* ---- tiles: 0..3 are sums, 4 is a part of A, 5, 6, 7 are the high, mid, low part of B ---- */

/* Where the sums of 16 columns start and where they go. */
typedef struct {
  const float *from; /* NULL: from 0 */
  float *to;
  int64_t from_row, to_row; /* bytes; from_row is 0 where all rows start alike */
} ends;

/* The six products of tile t, a literal, the small ones first, and a share of next is split. One tile comes after the other,
   so that the ends of one are hidden behind the products of the rest. */
#define ADD(t)                                                                                        \
  if (first && e->from) _tile_loadd(t, (const char *)e->from + TILE * t * e->from_row, e->from_row);  \
  else if (first) _tile_zero(t);                                                                      \
  _tile_loadd(4, a[t].part[2], ROW_BYTES);                                                            \
  _tile_dpbf16ps(t, 4, 5);                                                                            \
  split_share(next, 2 * t, 2 * tiles, to);                                                            \
  _tile_loadd(4, a[t].part[1], ROW_BYTES);                                                            \
  _tile_dpbf16ps(t, 4, 6);                                                                            \
  _tile_dpbf16ps(t, 4, 5);                                                                            \
  split_share(next, 2 * t + 1, 2 * tiles, to);                                                        \
  _tile_loadd(4, a[t].part[0], ROW_BYTES);                                                            \
  _tile_dpbf16ps(t, 4, 7);                                                                            \
  _tile_dpbf16ps(t, 4, 6);                                                                            \
  _tile_dpbf16ps(t, 4, 5);                                                                            \
  if (last) _tile_stored(t, (char *)e->to + TILE * t * e->to_row, e->to_row)

/* tiles is a constant after inlining. Meanwhile next is split into `to`. */
INLINE void add_step(int tiles, const square *a, const square *b, const ends *e, bool first, bool last, const source *next,
                     square *to)
{
  _tile_loadd(5, b->part[0], ROW_BYTES);
  _tile_loadd(6, b->part[1], ROW_BYTES);
  _tile_loadd(7, b->part[2], ROW_BYTES);
  ADD(0);
  if (tiles > 1) { ADD(1); }
  if (tiles > 2) { ADD(2); }
  if (tiles > 3) { ADD(3); }
}
#undef ADD

static void configure(void)
{
  struct { uint8_t palette, start, zero[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } c = {.palette = 1};

  for (int t = 0; t < 8; t++) {
    c.row_bytes[t] = ROW_BYTES;
    c.rows[t] = TILE;
  }
  fence();
  _tile_loadconfig(&c);
}

/* ---- C ---- */

static bool starts_with_c(const strip *s) { return s->l > 0 || s->q->mode == DX_GEMM_ADD; }
static bool starts_anew(const strip *s) { return s->l >= SUM; } /* and is added to C at the end */
static bool ends_with_relu(const strip *s)
{
  return s->q->mode == DX_GEMM_BIAS_RELU && s->l + s->steps * STEP >= s->q->k;
}

/* What the sums of columns j.. start with, and zeros beside it. */
static void copy_in(const strip *s, int64_t j, float room[TILES * TILE][TILE])
{
  const product *const q = s->q;
  const int64_t rows = less(s->tiles * TILE, q->m - s->i), row = starts_with_c(s) ? q->rc : 0;
  const float *const from = starts_with_c(s) ? q->c + s->i * q->rc + j : q->mode == DX_GEMM_SET ? NULL : q->bias + j;
  const mask lanes = first_lanes(less(TILE, q->n - j));

  for (int64_t r = 0; r < s->tiles * TILE; r++)
    store(room[r], from && r < rows ? load_some(lanes, from + r * row) : spread(0));
}

static void copy_out(const strip *s, int64_t j, float room[TILES * TILE][TILE])
{
  const product *const q = s->q;
  const int64_t rows = less(s->tiles * TILE, q->m - s->i);
  const mask lanes = first_lanes(less(TILE, q->n - j));
  float *c = q->c + s->i * q->rc + j;

  for (int64_t r = 0; r < rows; r++, c += q->rc) {
    vec sum = load(room[r]);

    if (starts_anew(s)) sum += load_some(lanes, c);
    store_some(lanes, c, ends_with_relu(s) ? relu(sum) : sum);
  }
}

/* Columns j..j+15: tiles start in C and end there where they can, else in room. */
INLINE void panel(strip *s, int64_t j, int tiles)
{
  const product *const q = s->q;
  const int64_t bytes = sizeof(float);
  const bool inside = q->m - s->i >= tiles * TILE && q->n - j >= TILE && !starts_anew(s) && !ends_with_relu(s);
  _Alignas(64) float room[TILES * TILE][TILE], room_b[STEP][TILE];
  ends e = {.from = room[0], .to = room[0], .from_row = TILE * bytes, .to_row = TILE * bytes};

  if (inside) {
    e.to = q->c + s->i * q->rc + j;
    e.to_row = q->rc * bytes;
    e.from = starts_with_c(s) ? e.to : q->mode == DX_GEMM_SET ? NULL : q->bias + j;
    e.from_row = starts_with_c(s) ? e.to_row : 0;
  } else if (starts_anew(s)) e.from = NULL;
  else copy_in(s, j, room);
  fence();
  for (int64_t step = 0; step < s->steps; step++, s->used = !s->used) {
    const source next = source_b(s, room_b);

    add_step(tiles, s->a + step * tiles, &s->b[s->used], &e, step == 0, step == s->steps - 1, &next, &s->b[!s->used]);
  }
  fence();
  if (!inside) copy_out(s, j, room);
}

INLINE void panels(strip *s, int tiles)
{
  for (int64_t j = 0; j < s->q->n; j += TILE) panel(s, j, tiles);
}

static void panels_1(strip *s) { panels(s, 1); }
static void panels_2(strip *s) { panels(s, 2); }
static void panels_3(strip *s) { panels(s, 3); }
static void panels_4(strip *s) { panels(s, 4); }

/* What panels expect split: A, and the first square of B. */
static void split_first(strip *s, const dx_kernels *avx512)
{
  _Alignas(64) float room[TILE * STEP];

  for (int64_t step = 0; step < s->steps; step++)
    for (int t = 0; t < s->tiles; t++) {
      const source a = source_a(s->q, s->i + t * TILE, s->l + step * STEP, avx512, (float(*)[STEP])room);

      split_rows(&a, 0, TILE, &s->a[step * s->tiles + t]);
    }
  s->next_j = s->next_step = s->used = 0;
  const source b = source_b(s, (float(*)[TILE])room);
  split_rows(&b, 0, TILE, &s->b[0]);
}

static void run_strip(const product *q, int64_t i, int tiles, const dx_kernels *avx512)
{
  static void (*const with[])(strip *s) = {panels_1, panels_2, panels_3, panels_4};
  const int64_t run = tiles == 1 ? SQUARES : tiles == 2 ? SQUARES / 2 : FEWEST;
  strip s;

  s.q = q, s.i = i, s.tiles = tiles;
  for (s.l = 0; s.l < q->k; s.l += s.steps * STEP) {
    s.steps = less(s.l < SUM ? run : FEWEST, (q->k - s.l + STEP - 1) / STEP);
    split_first(&s, avx512);
    with[tiles - 1](&s);
  }
}

/* Strips of about as many tiles each: 6 are 3 and 3, not 4 and 2, for behind 2 the splitting of B does not hide. */
static void multiply(const product *q)
{
  int64_t tiles = (q->m + TILE - 1) / TILE;
  dx_kernels avx512;

  if (q->m == 0 || q->n == 0) return;
  dx_kernels_avx512(&avx512);
  configure();
  for (int64_t i = 0, strips = (tiles + TILES - 1) / TILES; strips > 0; strips--) {
    const int64_t here = (tiles + strips - 1) / strips;

    run_strip(q, i, (int)here, &avx512);
    i += here * TILE;
    tiles -= here;
  }
  _tile_release();
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b, int64_t rb,
                 float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const product q = {.m = m, .n = n, .k = k, .a = a, .b = b, .bias = bias, .c = c, .ras = ras, .cas = cas, .rb = rb, .rc = rc,
                     .mode = mode};
  dx_kernels small;

  if (k >= SMALL) multiply(&q);
  else {
    dx_kernels_avx512_gemm(&small);
    small.gemm(m, n, k, a, ras, cas, b, rb, c, rc, bias, mode);
  }
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels_of_b, float *c,
                        int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const product q = {.m = m, .n = n, .k = k, .a = a, .b = panels_of_b, .bias = bias, .c = c, .ras = ra, .cas = 1, .rc = rc,
                     .packed = true, .mode = mode};
  dx_kernels small;

  if (k >= SMALL) multiply(&q);
  else {
    dx_kernels_avx512_gemm(&small);
    small.gemm_packed(m, n, k, a, ra, panels_of_b, c, rc, bias, mode);
  }
}

void dx_kernels_amx(dx_kernels *k)
{
  dx_kernels_avx512(k);
  k->name = "amx";
  k->gemm = gemm;
  k->gemm_packed = gemm_packed;
}
