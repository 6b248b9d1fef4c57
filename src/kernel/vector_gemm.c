/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector_gemm.c - products for vectors of 8 and of 16 floats: see vector.h.

   A block of C stays in registers over a run of k, and a run of B stays in the first cache over all rows. What bounds a
   block is its loads, rows + vectors for rows x vectors multiplications: a core often has two units for these but shares
   its load units with the other thread of the core, so blocks are as square as the registers allow. */
#include "kernel/vector.h"

#include <stdbool.h>

typedef struct {
  const float *a, *b, *bias;
  float *c;
  int64_t ras, cas, rb, rc;
  int64_t panel, group;    /* floats from 16 columns of packed A, of B to the next 16 */
  dx_gemm_mode mode;
  int64_t run;             /* of k */
  bool first, last;        /* of the runs */
  const float *next, *later; /* what the next run reads of B: fetched ahead by this block, by the one after it, or NULL */
  mask lanes;              /* of the last vector, where it is short */
} block;

enum { GROUP = DX_PANEL };
_Static_assert((int)GROUP == LINE, "a row of a panel is a line of the cache");

/* Where vector v of a row of B stands. */
INLINE int64_t at(const block *q, int v) { return v * W / GROUP * q->group + v * W % GROUP; }

/* Lines of each row of the next run that one block fetches; two do it, or one. */
INLINE int lines(int vecs) { return vecs * W >= 2 * GROUP ? vecs * W / GROUP / 2 : 1; }

/* rows, vecs, tail and packed are constants after inlining: rows x vecs vectors of C, the last of each row short where there
   is a tail; packed: A is. */
typedef struct { int rows, vecs, tail, packed; } form;

/* Products of so many columns of A and rows of B. */
INLINE void add_products(const block *q, form f, const float *a, int64_t ras, int64_t cas, const float *b, int64_t count,
                         const float *next, vec acc[ROWS][WIDE])
{
  vec row_of_b[WIDE];

  for (int64_t l = 0; l < count; l++, a += cas, b += q->rb) {
    if (next) {
      UNROLL
      for (int v = 0; v < lines(f.vecs); v++) __builtin_prefetch(next + v * q->group, 0, 2);
      next += q->rb;
    }
    UNROLL
    for (int v = 0; v < f.vecs; v++) row_of_b[v] = get(f.tail && v == f.vecs - 1, q->lanes, b + at(q, v));
    UNROLL
    for (int i = 0; i < f.rows; i++) {
      const vec a_il = spread(a[i * ras]);

      UNROLL
      for (int v = 0; v < f.vecs; v++) acc[i][v] = mul_add(a_il, row_of_b[v], acc[i][v]);
    }
  }
}

/* The same of packed A, panel by panel; what the next block reads of each is asked for ahead. */
INLINE void add_panels(const block *q, form f, vec acc[ROWS][WIDE])
{
  const float *a = q->a, *b = q->b;

  for (int64_t left = q->run; left > 0; left -= GROUP, a += q->panel, b += GROUP * q->rb) {
    UNROLL
    for (int i = 0; i < f.rows; i++) __builtin_prefetch(a + (f.rows + i) * GROUP, 0, 2);
    add_products(q, f, a, GROUP, 1, b, left < GROUP ? left : GROUP, NULL, acc);
  }
}

INLINE void run_block(const block *q, form f)
{
  const int rows = f.rows, vecs = f.vecs, tail = f.tail;
  vec acc[ROWS][WIDE];

  UNROLL
  for (int i = 0; i < rows; i++)
    UNROLL
    for (int v = 0; v < vecs; v++) {
      const int some = tail && v == vecs - 1;

      acc[i][v] = !q->first || q->mode == DX_GEMM_SET ? spread(0)
                  : q->mode == DX_GEMM_ADD            ? get(some, q->lanes, q->c + i * q->rc + v * W)
                                                      : get(some, q->lanes, q->bias + v * W);
    }
  if (f.packed) add_panels(q, f, acc);
  else add_products(q, f, q->a, q->ras, q->cas, q->b, q->run, q->next, acc);
  UNROLL
  for (int i = 0; i < rows; i++)
    UNROLL
    for (int v = 0; v < vecs; v++) {
      const int some = tail && v == vecs - 1;
      float *const c = q->c + i * q->rc + v * W;

      if (!q->first) acc[i][v] += get(some, q->lanes, c);
      put(some, q->lanes, c, q->last && q->mode == DX_GEMM_BIAS_RELU ? relu(acc[i][v]) : acc[i][v]);
    }
}

INLINE void some_rows(block *q, int rows, form f)
{
  f.rows = rows;
  run_block(q, f);
  q->a += rows * q->ras;
  q->c += rows * q->rc;
  q->next = q->later;
  q->later = NULL;
}

/* All m rows of one run. */
INLINE void run_rows(block q, int64_t m, form f)
{
  const int most = f.vecs == WIDE ? WIDE_ROWS : ROWS;

  q.later = q.next && f.vecs * W > GROUP ? q.next + lines(f.vecs) * q.group : NULL;
  /* 8 are 4 and 4, not 6 and 2 */
  for (; m >= most && (most != 6 || m > 8 || m == 6); m -= most) some_rows(&q, most, f);
  if (most > 8 && m >= 8) {
    some_rows(&q, 8, f);
    m -= 8;
  }
  for (; m >= 4; m -= 4) some_rows(&q, 4, f);
  if (m >= 2) {
    some_rows(&q, 2, f);
    m -= 2;
  }
  if (m) some_rows(&q, 1, f);
}

/* One strip of columns: run after run. follows: the next strip's B, or NULL. */
INLINE void run_strip(block q, int64_t m, int64_t k, const float *follows, form f)
{
  q.first = true;
  do {
    q.run = k < DX_GEMM_RUN ? k : DX_GEMM_RUN;
    q.last = q.run == k;
    q.next = !follows ? NULL : q.last ? follows : q.b + q.run * q.rb;
    run_rows(q, m, f);
    q.a += f.packed ? q.run / GROUP * q.panel : q.run * q.cas;
    q.b += q.run * q.rb;
    q.first = false;
    k -= q.run;
  } while (k > 0);
}

#define STRIP(name, ...)                                                                    \
  static void name(const block *q, int64_t m, int64_t k, const float *follows)             \
  {                                                                                         \
    run_strip(*q, m, k, follows, (form){__VA_ARGS__});                                      \
  }

typedef void strip(const block *q, int64_t m, int64_t k, const float *follows);
STRIP(strip_wide, .vecs = WIDE)
STRIP(strip_full, .vecs = VECS)
STRIP(strip_tail, .vecs = VECS, .tail = 1)
STRIP(thin_full, .vecs = 1)
STRIP(thin_tail, .vecs = 1, .tail = 1)
STRIP(packed_wide, .vecs = WIDE, .packed = 1)
STRIP(packed_full, .vecs = VECS, .packed = 1)
STRIP(packed_tail, .vecs = VECS, .packed = 1, .tail = 1)
STRIP(packed_thin_full, .vecs = 1, .packed = 1)
STRIP(packed_thin_tail, .vecs = 1, .packed = 1, .tail = 1)
#undef STRIP

typedef struct { strip *wide, *full, *tail, *thin_full, *thin_tail; } strips_of_a;
static const strips_of_a rows_of_a = {strip_wide, strip_full, strip_tail, thin_full, thin_tail};
static const strips_of_a panels_of_a = {packed_wide, packed_full, packed_tail, packed_thin_full, packed_thin_tail};

/* Strips of that many columns, a multiple of 16, as long as there are so many; the columns left. */
INLINE int64_t strips(block *q, strip *f, int64_t width, int64_t m, int64_t n, int64_t k, bool fetch)
{
  for (; n >= width; n -= width, q->c += width) {
    const float *const follows = q->b + width / GROUP * q->group;

    f(q, m, k, fetch ? follows : NULL);
    q->b = follows;
    if (q->bias) q->bias += width;
  }
  return n;
}

/* packed: B is, and its next strip is fetched meanwhile where fetch. */
INLINE void all_strips(block q, const strips_of_a *f, int64_t m, int64_t n, int64_t k, bool packed, bool fetch)
{
  if (WIDE > VECS) n = strips(&q, f->wide, WIDE * W, m, n, k, fetch);
  n = strips(&q, f->full, VECS * W, m, n, k, fetch);
  if (packed && n >= GROUP) n = strips(&q, f->thin_full, GROUP, m, n, k, fetch);
  q.lanes = first_lanes(n % W);
  if (n > W) f->tail(&q, m, k, NULL);
  else if (n == W) f->thin_full(&q, m, k, NULL);
  else if (n) f->thin_tail(&q, m, k, NULL);
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b,
                 int64_t rb, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const block q = {.a = a, .b = b, .bias = bias, .c = c, .ras = ras, .cas = cas, .rb = rb, .group = GROUP, .rc = rc,
                   .mode = mode};

  all_strips(q, &rows_of_a, m, n, k, false, false);
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels, float *c,
                        int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const block q = {.a = a, .b = panels, .bias = bias, .c = c, .ras = ra, .cas = 1, .rb = GROUP, .group = GROUP * k, .rc = rc,
                   .mode = mode};

  all_strips(q, &rows_of_a, m, n, k, true, true);
}

static void gemm_packed_a(int64_t m, int64_t n, int64_t k, const float *a, int64_t pa, const float *b, int64_t rb,
                          float *c, int64_t rc, dx_gemm_mode mode)
{
  const block q = {.a = a, .panel = pa, .b = b, .c = c, .ras = GROUP, .rb = rb ? rb : GROUP, .group = rb ? GROUP : GROUP * k,
                   .rc = rc, .mode = mode};

  all_strips(q, &panels_of_a, m, n, k, !rb, false); /* A comes from farther */
}

void FILL_GEMM(dx_kernels *k)
{
  k->gemm = gemm;
  k->gemm_packed = gemm_packed;
  k->gemm_packed_a = gemm_packed_a;
}
