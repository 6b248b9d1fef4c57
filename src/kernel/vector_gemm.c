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
  int64_t ras, cas, rb, group, rc; /* group: floats from 16 columns of B to the next 16 */
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

/* rows, vecs and tail are constants after inlining: rows x vecs vectors of C, the last of each row short where there is
   a tail. */
INLINE void run_block(const block *q, int rows, int vecs, int tail)
{
  vec acc[ROWS][WIDE], row_of_b[WIDE];
  const float *a = q->a, *b = q->b, *next = q->next;
  const int64_t ras = q->ras, cas = q->cas, rb = q->rb;

  UNROLL
  for (int i = 0; i < rows; i++)
    UNROLL
    for (int v = 0; v < vecs; v++) {
      const int some = tail && v == vecs - 1;

      acc[i][v] = !q->first || q->mode == DX_GEMM_SET ? spread(0)
                  : q->mode == DX_GEMM_ADD            ? get(some, q->lanes, q->c + i * q->rc + v * W)
                                                      : get(some, q->lanes, q->bias + v * W);
    }
  for (int64_t l = 0; l < q->run; l++, a += cas, b += rb) {
    if (next) {
      UNROLL
      for (int v = 0; v < lines(vecs); v++) __builtin_prefetch(next + v * q->group, 0, 2);
      next += rb;
    }
    UNROLL
    for (int v = 0; v < vecs; v++) row_of_b[v] = get(tail && v == vecs - 1, q->lanes, b + at(q, v));
    UNROLL
    for (int i = 0; i < rows; i++) {
      const vec a_il = spread(a[i * ras]);

      UNROLL
      for (int v = 0; v < vecs; v++) acc[i][v] = mul_add(a_il, row_of_b[v], acc[i][v]);
    }
  }
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

INLINE void some_rows(block *q, int rows, int vecs, int tail)
{
  run_block(q, rows, vecs, tail);
  q->a += rows * q->ras;
  q->c += rows * q->rc;
  q->next = q->later;
  q->later = NULL;
}

/* All m rows of one run. */
INLINE void run_rows(block q, int64_t m, int vecs, int tail)
{
  const int most = vecs == WIDE ? WIDE_ROWS : ROWS;

  q.later = q.next && vecs * W > GROUP ? q.next + lines(vecs) * q.group : NULL;
  /* 8 are 4 and 4, not 6 and 2 */
  for (; m >= most && (most != 6 || m > 8 || m == 6); m -= most) some_rows(&q, most, vecs, tail);
  if (most > 8 && m >= 8) {
    some_rows(&q, 8, vecs, tail);
    m -= 8;
  }
  for (; m >= 4; m -= 4) some_rows(&q, 4, vecs, tail);
  if (m >= 2) {
    some_rows(&q, 2, vecs, tail);
    m -= 2;
  }
  if (m) run_block(&q, 1, vecs, tail);
}

/* One strip of columns: run after run. follows: the next strip's B, or NULL. */
INLINE void run_strip(block q, int64_t m, int64_t k, const float *follows, int vecs, int tail)
{
  q.first = true;
  do {
    q.run = k < DX_GEMM_RUN ? k : DX_GEMM_RUN;
    q.last = q.run == k;
    q.next = !follows ? NULL : q.last ? follows : q.b + q.run * q.rb;
    run_rows(q, m, vecs, tail);
    q.a += q.run * q.cas;
    q.b += q.run * q.rb;
    q.first = false;
    k -= q.run;
  } while (k > 0);
}

typedef void strip(const block *q, int64_t m, int64_t k, const float *follows);
static void strip_wide(const block *q, int64_t m, int64_t k, const float *follows) { run_strip(*q, m, k, follows, WIDE, 0); }
static void strip_full(const block *q, int64_t m, int64_t k, const float *follows) { run_strip(*q, m, k, follows, VECS, 0); }
static void strip_tail(const block *q, int64_t m, int64_t k, const float *follows) { run_strip(*q, m, k, follows, VECS, 1); }
static void thin_full(const block *q, int64_t m, int64_t k, const float *follows) { run_strip(*q, m, k, follows, 1, 0); }
static void thin_tail(const block *q, int64_t m, int64_t k, const float *follows) { run_strip(*q, m, k, follows, 1, 1); }

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

static void rest_of_columns(block *q, int64_t m, int64_t n, int64_t k)
{
  q->lanes = first_lanes(n % W);
  if (n > W) strip_tail(q, m, k, NULL);
  else if (n == W) thin_full(q, m, k, NULL);
  else if (n) thin_tail(q, m, k, NULL);
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b,
                 int64_t rb, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  block q = {.a = a, .b = b, .bias = bias, .c = c, .ras = ras, .cas = cas, .rb = rb, .group = GROUP, .rc = rc, .mode = mode};

  if (WIDE > VECS) n = strips(&q, strip_wide, WIDE * W, m, n, k, false);
  n = strips(&q, strip_full, VECS * W, m, n, k, false);
  rest_of_columns(&q, m, n, k);
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels, float *c,
                        int64_t rc, const float *bias, dx_gemm_mode mode)
{
  block q = {.a = a, .b = panels, .bias = bias, .c = c, .ras = ra, .cas = 1, .rb = GROUP, .group = GROUP * k, .rc = rc,
             .mode = mode};

  if (WIDE > VECS) n = strips(&q, strip_wide, WIDE * W, m, n, k, true);
  n = strips(&q, strip_full, VECS * W, m, n, k, true);
  if (n >= GROUP) n = strips(&q, thin_full, GROUP, m, n, k, true);
  q.rb = n;
  rest_of_columns(&q, m, n, k);
}

void FILL_GEMM(dx_kernels *k)
{
  k->gemm = gemm;
  k->gemm_packed = gemm_packed;
}
