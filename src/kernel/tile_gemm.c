/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/tile_gemm.c - products of floats on tiles of bf16 (AMX), as accurate as those of floats.

   A float has 24 bits of significand and a bf16 has 8, so three of them, high + mid + low, are the float exactly. Of the nine
   products of parts of a and b the six largest are summed. What is left out is below 2^-22 |ab|, and of either sign, so that a
   sum of many numbers of all their bits has no bias. The tiles sum the 32 products of a step from 0, half of them at a time, before they add them to
   what was there: the roundings are those of short sums.

   c_ij depends on row i of A, column j of B, k, the mode and the start alone: each sum is made in the same order wherever
   it stands in a call. Tiles read and write denormal numbers as 0: a, b and ab keep all their bits above 2^-102. What is not
   finite gives something that is not finite, often a NaN.

   Up to 64 rows of A are split at a time, for as much of k as stays in the first cache, and multiplied by 16 columns of B
   after the other. The next square of B is split meanwhile, and of A while the first columns are multiplied: vectors and
   tiles work at the same time. A processor looks some two hundred vectors ahead of the oldest product that is not done, so
   only a few rows are split between two products. Where more rows follow, what was split of B is kept for them in the
   second cache, for some 256 rows of C at a time, which lie there, too: even hidden, splitting costs what a processor may
   use of power, and with it its pace. */
#include "kernel/vector.h"

#include <string.h>

/* Rows of a tile; k of a tile, as pairs; parts of a number and products of them; tiles of sums, below each other; a row of a
   tile. */
enum { TILE = 16, STEP = 32, PARTS = 3, PRODUCTS = 6, TILES = 4, ROW_BYTES = 64 };
enum { SQUARES = 8, FEWEST = SQUARES / TILES }; /* of A that are split at a time; steps of that */
/* Columns of B that are kept for the rows below; squares of them; tiles of rows that use them. */
enum { COLUMNS = 256, KEPT = COLUMNS / TILE * FEWEST, MOST_BELOW = 16 };
/* k after which a sum grows by sums of FEWEST steps, for which the tiles start with 0; k below which floats are faster. */
enum { SUM = 512, SMALL = 16 };
_Static_assert((int)TILE == DX_PANEL, "a panel is a tile wide");
_Static_assert(SUM % (SQUARES * STEP) == 0, "runs of k, whose length depends on m, end at SUM");

/* 16 x 32 numbers of A, or 32 x 16 of B, as three tiles: row r of A's holds the pairs (l, l + 16) of its row, l = 0..15;
   row l of B's the pair (l, l + 16) of each column. So neither needs its numbers in another order. */
typedef struct { _Alignas(64) uint16_t part[PARTS][TILE][STEP]; } square;

/* The numbers of a square: the first of each pair of row r from x + r row on, the second `half` further; x NULL: no square.
   ahead: floats to what is fetched for later, or 0. */
typedef struct {
  const float *x;
  int64_t row, half, ahead;
} source;

typedef struct {
  int64_t m, n, k;
  const float *a, *b, *bias;
  float *c;
  int64_t ras, cas, rb, rc;
  int64_t pa; /* from a panel of packed A to the next */
  bool packed_a, packed_b;
  dx_gemm_mode mode;
} product;

/* Rows of C from i on, 16 for each tile, columns [from, to), and a run of k from l on. */
typedef struct {
  const product *q;
  int64_t i, from, to, l, steps;
  int tiles, squares;          /* squares: places in b */
  int64_t next;                /* square of B, by columns and steps, that is split next, into place next mod squares; at the
                                  end it stays there for the strips below, which so split none */
  square b[KEPT], a[SQUARES];  /* a: (steps, tiles) */
  _Alignas(64) float room_a[TILE][STEP], room_b[STEP][TILE]; /* squares that do not stand as they are needed */
} strip;

/* To a compiler the load of a tile reads no memory. */
INLINE void fence(void) { __asm__ volatile("" ::: "memory"); }

INLINE int64_t less(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- parts ---- */

/* The upper halves, of x0 in the lower one. */
INLINE __m512i pairs(__m512i x0, __m512i x1) { return _mm512_mask_mov_epi16(_mm512_srli_epi32(x0, 16), 0xAAAAAAAA, x1); }

/* The upper half is then the nearest to x: 8 bits of it, like what is left. */
INLINE __m512i rounded(__m512i x) { return _mm512_add_epi32(x, _mm512_set1_epi32(0x8000)); }

/* x without the upper half of part. */
INLINE __m512i rest(__m512i x, __m512i part)
{
  const __m512i upper = _mm512_maskz_mov_epi16(0xAAAAAAAA, part);

  return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(upper)));
}

/* The high part is cut off, not rounded, so that the largest numbers stay finite; then it has the sign of the number, and the
   mid part is rounded, so that the low one has either. */
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
      const __m512i part0 = p == 1 ? rounded(x0) : x0, part1 = p == 1 ? rounded(x1) : x1;

      _mm512_store_si512(out->part[p][r], pairs(part0, part1));
      x0 = rest(x0, part0);
      x1 = rest(x1, part1);
    }
  }
  fence();
}

/* One of `of` equal shares of the rows. */
INLINE void split_share(const source *s, int share, int of, square *out)
{
  if (s->x && share < of) split_rows(s, TILE * share / of, TILE * (share + 1) / of, out);
}

static void copy_b(const float *b, int64_t rb, int64_t deep, mask lanes, float room[STEP][TILE])
{
  for (int64_t d = 0; d < STEP; d++) store(room[d], d < deep ? load_some(lanes, b + d * rb) : spread(0));
}

/* Row r of y (16,16), STEP apart, is column r of x. It is stored as a whole vector: parts of one would be read again only
   from the cache, after all products before them. */
INLINE void turn(const float *x, int64_t rx, float *y)
{
  const float *row[TILE];

  UNROLL
  for (int i = 0; i < TILE; i++) row[i] = x + i * rx;
  UNROLL
  for (int j = 0; j < TILE; j += 4) {
    vec v[4];

    turn_four(row, 1, j, v);
    UNROLL
    for (int i = 0; i < 4; i++) store(y + (j + i) * STEP, v[i]);
  }
}

/* A square that is turned, or has zeros beside it. */
static void copy_a(const product *q, const float *a, int64_t rows, int64_t deep, float room[TILE][STEP])
{
  const bool whole = rows == TILE && deep == STEP;
  float columns[STEP][TILE];

  if (q->ras == 1) {
    if (!whole) copy_b(a, q->cas, deep, first_lanes(rows), columns);
    for (int l = 0; l < STEP; l += TILE) turn(whole ? a + l * q->cas : columns[l], whole ? q->cas : TILE, room[0] + l);
    return;
  }
  memset(room, 0, TILE * sizeof *room);
  for (int64_t r = 0; r < rows; r++, a += q->ras)
    if (q->cas == 1) memcpy(room[r], a, (size_t)deep * sizeof *a);
    else
      for (int64_t d = 0; d < deep; d++) room[r][d] = a[d * q->cas];
}

/* A square of packed A with zeros beside it. */
static void copy_panels(const float *a, int64_t pa, int64_t rows, int64_t deep, float room[TILE][STEP])
{
  memset(room, 0, TILE * sizeof *room);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t d = 0; d < deep; d += TILE)
      memcpy(room[r] + d, a + d / TILE * pa + r * TILE, (size_t)less(TILE, deep - d) * sizeof *a);
}

/* Square n of A, in the order of a: where it stands or, turned or with zeros beside it, in room_a. What is fetched is the
   square in its place of the next strip, which behind the last one is no part of A. */
INLINE source source_a(strip *s, int tiles, int64_t n)
{
  const product *const q = s->q;
  const int64_t i = s->i + n % tiles * TILE, l = s->l + n / tiles * STEP;
  const int64_t rows = less(TILE, q->m - i), deep = less(STEP, q->k - l);

  if (n == s->steps * tiles) return (source){0};
  if (q->packed_a) {
    const float *const a = q->a + l / TILE * q->pa + i * TILE;

    if (rows == TILE && deep == STEP) return (source){a, TILE, q->pa, tiles * TILE * TILE};
    copy_panels(a, q->pa, rows, deep, s->room_a);
    return (source){s->room_a[0], STEP, TILE, 0};
  }
  const float *const a = q->a + i * q->ras + l * q->cas;
  if (q->cas == 1 && rows == TILE && deep == STEP) return (source){a, q->ras, TILE, tiles * TILE * q->ras};
  copy_a(q, a, rows, deep, s->room_a);
  return (source){s->room_a[0], STEP, TILE, 0};
}

static square *place_of(strip *s, int64_t n) { return &s->b[n % s->squares]; }

/* The next square of B, in the same way. Of packed B the same place of the next panel is fetched. */
INLINE source source_b(strip *s)
{
  const product *const q = s->q;
  const int64_t j = s->from + s->next / s->steps * TILE, l = s->l + s->next % s->steps * STEP;
  const int64_t columns = less(TILE, q->n - j), deep = less(STEP, q->k - l), rb = q->packed_b ? TILE : q->rb;

  if (j >= s->to) return (source){0};
  const float *const b = q->b + (q->packed_b ? j * q->k : j) + l * rb;
  s->next++;
  if (columns == TILE && deep == STEP) return (source){b, rb, TILE * rb, q->packed_b ? TILE * q->k : 0};
  copy_b(b, rb, deep, first_lanes(columns), s->room_b);
  return (source){s->room_b[0], TILE, TILE * TILE, 0};
}

/* ---- tiles: 0..3 are sums, 4 is a part of A, 5, 6, 7 are the high, mid, low part of B ---- */

/* Where the sums of 16 columns start and where they go. */
typedef struct {
  const float *from; /* NULL: from 0 */
  float *to;
  int64_t from_row, to_row; /* bytes; from_row is 0 where all rows start alike */
} ends;

/* Macros, for the number of a tile must be a literal.
   Product g of tile t, and a share of what is split meanwhile. */
#define MULTIPLY(t, g, part_of_b)                                 \
  _tile_dpbf16ps(t, 4, part_of_b);                                \
  split_share(next, PRODUCTS * t + g, PRODUCTS * tiles, to);      \
  split_share(&next_a, g, PRODUCTS, &a[t + 1])

/* The six products of tile t, the small ones first. One tile comes after the other, so that the ends of one are hidden
   behind the products of the rest. */
#define ADD(t)                                                                                        \
  if (splits_a) next_a = source_a(s, tiles, n + t + 1);                                               \
  if (first && e->from) _tile_loadd(t, (const char *)e->from + TILE * t * e->from_row, e->from_row);  \
  else if (first) _tile_zero(t);                                                                      \
  _tile_loadd(4, a[t].part[2], ROW_BYTES);                                                            \
  MULTIPLY(t, 0, 5);                                                                                  \
  _tile_loadd(4, a[t].part[1], ROW_BYTES);                                                            \
  MULTIPLY(t, 1, 6);                                                                                  \
  MULTIPLY(t, 2, 5);                                                                                  \
  _tile_loadd(4, a[t].part[0], ROW_BYTES);                                                            \
  MULTIPLY(t, 3, 7);                                                                                  \
  MULTIPLY(t, 4, 6);                                                                                  \
  MULTIPLY(t, 5, 5);                                                                                  \
  if (last) _tile_stored(t, (char *)e->to + TILE * t * e->to_row, e->to_row)

/* Squares n.. of a, times b. tiles and splits_a are constants after inlining. Meanwhile next is split into `to` and, where
   splits_a, of A the square behind each one that is multiplied. */
INLINE void add_step(strip *s, int tiles, bool splits_a, int64_t n, const square *b, const ends *e, bool first, bool last,
                     const source *next, square *to)
{
  square *const a = s->a + n;
  source next_a = {0};

  _tile_loadd(5, b->part[0], ROW_BYTES);
  _tile_loadd(6, b->part[1], ROW_BYTES);
  _tile_loadd(7, b->part[2], ROW_BYTES);
  ADD(0);
  if (tiles > 1) { ADD(1); }
  if (tiles > 2) { ADD(2); }
  if (tiles > 3) { ADD(3); }
}
#undef ADD
#undef MULTIPLY

/* Loading takes as long as the products of a square and more, so what was loaded stays there for the next call; the price is
   that the system saves the tiles, 8 KiB, when another thread has its turn. */
static void configure(void)
{
  struct { uint8_t palette, start, zero[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } c = {.palette = 1}, now;

  for (int t = 0; t < 8; t++) {
    c.row_bytes[t] = ROW_BYTES;
    c.rows[t] = TILE;
  }
  _tile_storeconfig(&now);
  __asm__ volatile("" : "+m"(now), "+m"(c)); /* to a compiler these read and write no memory, either */
  if (memcmp(&now, &c, sizeof c)) _tile_loadconfig(&c);
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
INLINE void panel(strip *s, int64_t j, int tiles, bool splits_a)
{
  const product *const q = s->q;
  const int64_t bytes = sizeof(float);
  const bool inside = q->m - s->i >= tiles * TILE && q->n - j >= TILE && !starts_anew(s) && !ends_with_relu(s);
  _Alignas(64) float room[TILES * TILE][TILE];
  ends e = {.from = room[0], .to = room[0], .from_row = TILE * bytes, .to_row = TILE * bytes};

  if (inside) {
    e.to = q->c + s->i * q->rc + j;
    e.to_row = q->rc * bytes;
    e.from = starts_with_c(s) ? e.to : q->mode == DX_GEMM_SET ? NULL : q->bias + j;
    e.from_row = starts_with_c(s) ? e.to_row : 0;
  } else if (starts_anew(s)) e.from = NULL;
  else copy_in(s, j, room);
  fence();
  for (int64_t step = 0; step < s->steps; step++) {
    const int64_t n = (j - s->from) / TILE * s->steps + step;
    const source next = source_b(s);

    add_step(s, tiles, splits_a, step * tiles, place_of(s, n), &e, step == 0, step == s->steps - 1, &next, place_of(s, n + 1));
  }
  fence();
  if (!inside) copy_out(s, j, room);
}

INLINE void panels(strip *s, int tiles)
{
  const source a = source_a(s, tiles, 0), b = source_b(s);

  split_rows(&a, 0, TILE, &s->a[0]);
  if (b.x) split_rows(&b, 0, TILE, &s->b[0]);
  panel(s, s->from, tiles, true);
  for (int64_t j = s->from + TILE; j < s->to; j += TILE) panel(s, j, tiles, false);
}

static void panels_1(strip *s) { panels(s, 1); }
static void panels_2(strip *s) { panels(s, 2); }
static void panels_3(strip *s) { panels(s, 3); }
static void panels_4(strip *s) { panels(s, 4); }

/* Strips of about as many tiles each: 6 are 3 and 3, not 4 and 2, for behind 2 the splitting of B does not hide. */
static void run_strips(strip *s, int64_t first, int64_t tiles, int64_t strips)
{
  static void (*const with[])(strip *s) = {panels_1, panels_2, panels_3, panels_4};

  s->next = 0;
  s->i = first;
  for (; strips > 0; strips--) {
    s->tiles = (int)((tiles + strips - 1) / strips);
    with[s->tiles - 1](s);
    s->i += s->tiles * TILE;
    tiles -= s->tiles;
  }
}

/* Rows of C from `first` on. */
static void multiply_rows(strip *s, int64_t first, int64_t tiles)
{
  const product *const q = s->q;
  const int64_t strips = (tiles + TILES - 1) / TILES, run = tiles == 1 ? SQUARES : tiles == 2 ? SQUARES / 2 : FEWEST;

  s->squares = strips > 1 ? KEPT : 2;
  for (s->from = 0; s->from < q->n; s->from = s->to) {
    s->to = strips > 1 ? less(s->from + COLUMNS, q->n) : q->n;
    for (s->l = 0; s->l < q->k; s->l += s->steps * STEP) {
      s->steps = less(s->l < SUM ? run : FEWEST, (q->k - s->l + STEP - 1) / STEP);
      run_strips(s, first, tiles, strips);
    }
  }
}

static void multiply(const product *q)
{
  const int64_t tiles = (q->m + TILE - 1) / TILE, groups = (tiles + MOST_BELOW - 1) / MOST_BELOW;
  strip s;

  if (q->m == 0 || q->n == 0) return;
  configure();
  s.q = q;
  for (int64_t g = 0; g < groups; g++) multiply_rows(&s, tiles * g / groups * TILE, tiles * (g + 1) / groups - tiles * g / groups);
}

static void multiply_floats(const product *q)
{
  dx_kernels k;

  dx_kernels_avx512_gemm(&k);
  if (q->packed_a) k.gemm_packed_a(q->m, q->n, q->k, q->a, q->pa, q->b, q->rb, q->c, q->rc, q->mode);
  else if (q->packed_b) k.gemm_packed(q->m, q->n, q->k, q->a, q->ras, q->b, q->c, q->rc, q->bias, q->mode);
  else k.gemm(q->m, q->n, q->k, q->a, q->ras, q->cas, q->b, q->rb, q->c, q->rc, q->bias, q->mode);
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b, int64_t rb,
                 float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const product q = {.m = m, .n = n, .k = k, .a = a, .b = b, .bias = bias, .c = c, .ras = ras, .cas = cas, .rb = rb, .rc = rc,
                     .mode = mode};

  if (k < SMALL) multiply_floats(&q);
  else multiply(&q);
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels_of_b, float *c,
                        int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const product q = {.m = m, .n = n, .k = k, .a = a, .b = panels_of_b, .bias = bias, .c = c, .ras = ra, .cas = 1, .rc = rc,
                     .packed_b = true, .mode = mode};

  if (k < SMALL) multiply_floats(&q);
  else multiply(&q);
}

static void gemm_packed_a(int64_t m, int64_t n, int64_t k, const float *a, int64_t pa, const float *b, int64_t rb, float *c,
                          int64_t rc, dx_gemm_mode mode)
{
  const product q = {.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .pa = pa, .rb = rb, .rc = rc,
                     .packed_a = true, .packed_b = !rb, .mode = mode};

  if (k < SMALL) multiply_floats(&q);
  else multiply(&q);
}

void dx_kernels_amx(dx_kernels *k)
{
  dx_kernels_avx512(k);
  k->name = "amx";
  k->gemm = gemm;
  k->gemm_packed = gemm_packed;
  k->gemm_packed_a = gemm_packed_a;
}
