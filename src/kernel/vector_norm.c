/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector_norm.c - normalisation, SiLU, dropout and softmax in vectors: see vector.h.

   The statistics of an image stay in a core's cache between two passes; one pass then
   normalises, activates and drops. Nothing that can be computed again from x is stored. */
#include "kernel/vector.h"

#include <string.h>

#include "base/math.h"

enum { LANES = 16, PART = 32, STRIP = 4, BITS = 2048, CHAINS = 2 };

/* dx_expf, lane by lane. */
INLINE vec vexp(vec x)
{
  const vec y = least(spread(88), most(spread(-87), x));
  const vec n0 = mul_add(y, spread(1.44269504f), spread(0x1.8p23f)), n = n0 - spread(0x1.8p23f);
  const vec r = mul_add(n, spread(-DX_LN2_LOF), mul_add(n, spread(-DX_LN2_HIF), y));
  const vec power = power_of_two(n0);
  vec q = spread(DX_EXPF_4);

  q = mul_add(q, r, spread(DX_EXPF_3));
  q = mul_add(q, r, spread(DX_EXPF_2));
  q = mul_add(q, r, spread(DX_EXPF_1));
  q = mul_add(q, r, spread(DX_EXPF_0));
  return mul_add(power, mul_add(r * r, q, r), power);
}

INLINE vec vsilu(vec x) { return x / (spread(1) + vexp(-x)); }

INLINE vec vslope(vec x)
{
  const vec q = spread(1) / (spread(1) + vexp(-x));

  return q * mul_add(x, spread(1) - q, spread(1));
}

static void silu(int64_t n, const float *x, float *y)
{
  for (; n >= W; n -= W, x += W, y += W) store(y, vsilu(load(x)));
  if (n) store_some(first_lanes(n), y, vsilu(load_some(first_lanes(n), x)));
}

static void silu_backward(int64_t n, const float *x, const float *gy, float *gx)
{
  const mask last = first_lanes(n % W);

  for (; n >= W; n -= W, x += W, gy += W, gx += W) store(gx, load(gy) * vslope(load(x)));
  if (n) store_some(last, gx, load_some(last, gy) * vslope(load_some(last, x)));
}

/* ---- dropout: random bits ahead of the numbers that use them ------------------------------ */

/* The 16 bits of numbers [first, end) of an example; the last vector may be read beyond. */
typedef struct {
  const dx_drop *d;
  int64_t first, end;
  uint16_t half[BITS + CHAINS * 4 * W];
} bits;

/* From block number first / 8 on; first is a multiple of 8. Each CHAIN of W / 2 blocks waits for its own products, so
   there are a few at a time. */
INLINE void fill(bits *b, int64_t first, int64_t n)
{
  const wide m0 = spread_word(0xD2511F53u), m1 = spread_word(0xCD9E8D57u), low = spread_word(0xFFFFFFFFu);
  const dx_drop *const d = b->d;

  for (int64_t at = 0; at < n; at += CHAINS * 4 * W) {
    uint32_t k0 = d->key[0], k1 = d->key[1];
    wide x[CHAINS][4];

    UNROLL
    for (int c = 0; c < CHAINS; c++) {
      x[c][0] = block_numbers() + spread_word(d->ctr[0] + (uint32_t)((first + at + c * 4 * W) / 8));
      x[c][1] = spread_word(d->ctr[1]), x[c][2] = spread_word(d->ctr[2]), x[c][3] = spread_word(d->ctr[3]);
    }
    UNROLL
    for (int round = 0; round < 10; round++) {
      const wide key0 = spread_word(k0), key1 = spread_word(k1);

      UNROLL
      for (int c = 0; c < CHAINS; c++) {
        const wide p0 = times(m0, x[c][0]), p1 = times(m1, x[c][2]);

        x[c][0] = high(p1) ^ x[c][1] ^ key0;
        x[c][1] = p1;
        x[c][2] = high(p0) ^ x[c][3] ^ key1;
        x[c][3] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    UNROLL
    for (int c = 0; c < CHAINS; c++)
      zip((x[c][0] & low) | x[c][1] << 32, (x[c][2] & low) | x[c][3] << 32, b->half + at + c * 4 * W);
  }
  b->first = first;
  b->end = first + (n + CHAINS * 4 * W - 1) / (CHAINS * 4 * W) * (CHAINS * 4 * W);
}

/* The bits of numbers [j, j + n), n <= BITS - 8; ahead: how many come behind j without a gap. */
INLINE const uint16_t *bits_at(bits *b, int64_t j, int64_t n, int64_t ahead)
{
  if (j < b->first || j + n > b->end) {
    const int64_t first = j / 8 * 8, want = j - first + ahead;

    fill(b, first, want < BITS ? want : BITS);
  }
  return b->half + (j - b->first);
}

INLINE vec dropped(const uint16_t *half, const dx_drop *d, vec x) { return keep(half, d->drop, spread(d->scale) * x); }

static void dropout(const dx_drop *d_, int64_t rows, const uint32_t *index, int64_t n, float *x)
{
  dx_drop d = *d_;
  bits b = {.d = &d};

  for (int64_t r = 0; r < rows; r++, x += n) {
    if (index) d.ctr[1] = index[r];
    b.first = b.end = 0;
    for (int64_t j = 0; j < n; j += W) {
      const mask some = first_lanes(n - j < W ? n - j : W);
      const uint16_t *const half = bits_at(&b, j, n - j < W ? n - j : W, n - j);

      if (n - j >= W) store(x + j, dropped(half, &d, load(x + j)));
      else store_some(some, x + j, dropped(half, &d, load_some(some, x + j)));
    }
  }
}

/* ---- sums over the rows ------------------------------------------------------------------ */

/* Add W float sums to the first n of W double ones. */
INLINE void add_part(vec part, int64_t n, double *s)
{
  float p[W];

  store(p, part);
  for (int64_t i = 0; i < n; i++) s[i] += (double)p[i];
}

/* vecs, tail and centred are constants after inlining. */
INLINE void sums_strip(int64_t rows, const float *x, int64_t rx, const float *mean, double *s, int vecs, int tail,
                       int64_t n, int centred)
{
  const mask last = first_lanes(n % W);
  vec m[STRIP], sum[STRIP];

  UNROLL
  for (int v = 0; v < vecs && centred; v++) m[v] = get(tail, last, mean + v * W);
  for (int64_t c = 0; c < n; c++) s[c] = 0;
  for (int64_t i = 0; i < rows;) {
    const int64_t end = i + PART < rows ? i + PART : rows;

    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] = spread(0);
    for (; i < end; i++, x += rx)
      UNROLL
      for (int v = 0; v < vecs; v++) {
        const vec a = get(tail, last, x + v * W);

        if (centred) sum[v] = mul_add(a - m[v], a - m[v], sum[v]);
        else sum[v] += a;
      }
    UNROLL
    for (int v = 0; v < vecs; v++) add_part(sum[v], tail ? n : W, s + v * W);
  }
}

INLINE void sums(int64_t rows, int64_t n, const float *x, int64_t rx, const float *mean, double *s, int centred)
{
  int64_t c = 0;

  for (; c + STRIP * W <= n; c += STRIP * W)
    sums_strip(rows, x + c, rx, mean + c, s + c, STRIP, 0, STRIP * W, centred);
  for (; c + W <= n; c += W) sums_strip(rows, x + c, rx, mean + c, s + c, 1, 0, W, centred);
  if (c < n) sums_strip(rows, x + c, rx, mean + c, s + c, 1, 1, n - c, centred);
}

static void norm_sums(int64_t rows, int64_t n, const float *x, int64_t rx, const float *mean, double *s)
{
  if (mean) sums(rows, n, x, rx, mean, s, 1);
  else sums(rows, n, x, rx, x, s, 0); /* the second x is not read */
}

/* ---- normalisation ------------------------------------------------------------------------- */

/* z of vector c of a row. */
INLINE vec normalised(const dx_norm_rows *q, const float *x, int64_t c, int tail, mask last)
{
  return mul_add(get(tail, last, x + c) - get(tail, last, q->mean + c), get(tail, last, q->gain + c),
                 get(tail, last, q->offset + c));
}

/* In the loops below kinds are constants after inlining. Rows are cut into pieces that fit into
   the bits at hand; wide rows are cut where a Philox block ends. */
enum { PIECE = 1024 };

INLINE void forward_piece(const dx_norm_rows *q, int64_t i, int64_t from, int64_t to, bits *b, float *y, int act, int drop)
{
  const float *const x = q->x + i * q->rx;
  const uint16_t *half = NULL;
  int64_t c = from;

  if (drop) half = bits_at(b, i * q->n + from, to - from, (q->n <= PIECE ? q->rows * q->n - i * q->n : to) - from);
  for (; c + W <= to; c += W) {
    vec z = normalised(q, x, c, 0, first_lanes(0));

    if (act) z = vsilu(z);
    if (drop) z = dropped(half + (c - from), b->d, z);
    store(y + c, z);
  }
  if (c < to) {
    const mask last = first_lanes(to - c);
    vec z = normalised(q, x, c, 1, last);

    if (act) z = vsilu(z);
    if (drop) z = dropped(half + (c - from), b->d, z);
    store_some(last, y + c, z);
  }
}

INLINE void forward_rows(const dx_norm_rows *q, float *y, int64_t ry, int act, int drop)
{
  bits b;

  b.d = q->drop, b.first = b.end = 0;
  for (int64_t i = 0; i < q->rows; i++, y += ry)
    for (int64_t c = 0; c < q->n; c += PIECE)
      forward_piece(q, i, c, c + PIECE < q->n ? c + PIECE : q->n, &b, y, act, drop);
}

static void norm_forward(const dx_norm_rows *q, float *y, int64_t ry)
{
  if (q->silu && q->drop) forward_rows(q, y, ry, 1, 1);
  else if (q->silu) forward_rows(q, y, ry, 1, 0);
  else if (q->drop) forward_rows(q, y, ry, 0, 1);
  else forward_rows(q, y, ry, 0, 0);
}

/* One vector of gz, added to the sums over PART rows. */
INLINE void backward_vec(const dx_norm_rows *q, const float *x, const float *gy, const uint16_t *half, float *gz,
                         float *a, float *d, int64_t c, int act, int drop, int tail, mask last)
{
  const vec off = get(tail, last, x + c) - get(tail, last, q->mean + c);
  vec g = get(tail, last, gy + c);

  if (drop) g = dropped(half, q->drop, g);
  if (act) g = g * vslope(mul_add(off, get(tail, last, q->gain + c), get(tail, last, q->offset + c)));
  put(tail, last, gz + c, g);
  store(a, load(a) + g);
  store(d, mul_add(g, off, load(d)));
}

/* PART rows, channels [from, to), to - from <= PIECE. */
INLINE void backward_part(const dx_norm_rows *q, int64_t first, int64_t rows, int64_t from, int64_t to, bits *b,
                          const float *gy, int64_t rgy, float *gz, int64_t rgz, double *a, double *d, int act, int drop)
{
  _Alignas(64) float pa[PIECE], pd[PIECE]; /* whole vectors, tails too */
  const mask last = first_lanes((to - from) % W);

  memset(pa, 0, (size_t)((to - from + W - 1) / W * W) * sizeof *pa);
  memset(pd, 0, (size_t)((to - from + W - 1) / W * W) * sizeof *pd);
  for (int64_t i = first; i < first + rows; i++) {
    const float *const x = q->x + i * q->rx, *const g = gy + i * rgy;
    const uint16_t *half = NULL;
    int64_t c = from;

    if (drop) half = bits_at(b, i * q->n + from, to - from, (q->n <= PIECE ? q->rows * q->n - i * q->n : to) - from);
    for (; c + W <= to; c += W)
      backward_vec(q, x, g, drop ? half + (c - from) : NULL, gz + i * rgz, pa + c - from, pd + c - from, c, act, drop, 0, last);
    if (c < to)
      backward_vec(q, x, g, drop ? half + (c - from) : NULL, gz + i * rgz, pa + c - from, pd + c - from, c, act, drop, 1, last);
  }
  for (int64_t c = from; c < to; c++) {
    a[c] += (double)pa[c - from];
    d[c] += (double)pd[c - from];
  }
}

INLINE void backward_rows(const dx_norm_rows *q, const float *gy, int64_t rgy, float *gz, int64_t rgz, double *a,
                          double *d, int act, int drop)
{
  bits b;

  b.d = q->drop, b.first = b.end = 0;
  for (int64_t i = 0; i < q->rows; i += PART)
    for (int64_t c = 0; c < q->n; c += PIECE)
      backward_part(q, i, i + PART < q->rows ? PART : q->rows - i, c, c + PIECE < q->n ? c + PIECE : q->n, &b, gy,
                    rgy, gz, rgz, a, d, act, drop);
}

static void norm_backward_sums(const dx_norm_rows *q, const float *gy, int64_t rgy, float *gz, int64_t rgz, double *a,
                               double *d)
{
  for (int64_t c = 0; c < q->n; c++) a[c] = d[c] = 0;
  if (q->silu && q->drop) backward_rows(q, gy, rgy, gz, rgz, a, d, 1, 1);
  else if (q->silu) backward_rows(q, gy, rgy, gz, rgz, a, d, 1, 0);
  else if (q->drop) backward_rows(q, gy, rgy, gz, rgz, a, d, 0, 1);
  else backward_rows(q, gy, rgy, gz, rgz, a, d, 0, 0);
}

INLINE void finish_vec(const dx_norm_rows *q, const float *x, const float *a, const float *d, const float *gz,
                       const float *plus, int more, float *gx, int64_t c, int tail, mask last)
{
  const vec off = get(tail, last, x + c) - get(tail, last, q->mean + c);
  vec g = mul_add(get(tail, last, q->gain + c), get(tail, last, gz + c),
                  -mul_add(off, get(tail, last, d + c), get(tail, last, a + c)));

  if (plus) g += get(tail, last, plus + c);
  if (more) g += get(tail, last, gx + c);
  put(tail, last, gx + c, g);
}

static void norm_backward(const dx_norm_rows *q, const float *a, const float *d, const float *gz, int64_t rgz,
                          const float *plus, int64_t rplus, int more, float *gx, int64_t rgx)
{
  const mask last = first_lanes(q->n % W);

  for (int64_t i = 0; i < q->rows; i++) {
    const float *const x = q->x + i * q->rx, *const extra = plus ? plus + i * rplus : NULL;
    int64_t c = 0;

    for (; c + W <= q->n; c += W) finish_vec(q, x, a, d, gz + i * rgz, extra, more, gx + i * rgx, c, 0, last);
    if (c < q->n) finish_vec(q, x, a, d, gz + i * rgz, extra, more, gx + i * rgx, c, 1, last);
  }
}

/* ---- softmax ------------------------------------------------------------------------------- */

enum { PARTS = LANES / W };

INLINE float sum_lanes(const vec lane[PARTS])
{
  float s[LANES];

  for (int v = 0; v < PARTS; v++) store(s + v * W, lane[v]);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) s[l] += s[l + half];
  return s[0];
}

/* Lanes of the vector at j of n; 0 where it lies beyond. */
INLINE mask lanes_at(int64_t j, int64_t n) { return first_lanes(n - j < 0 ? 0 : n - j < W ? n - j : W); }

INLINE float largest(int64_t n, const float *x)
{
  float s[W], m = x[0];
  vec v = spread(x[0]);
  int64_t j = 0;

  for (; j + W <= n; j += W) v = most(load(x + j), v);
  store(s, v);
  for (int l = 0; l < W; l++) m = s[l] > m ? s[l] : m;
  for (; j < n; j++) m = x[j] > m ? x[j] : m;
  return m;
}

static void softmax_row(int64_t n, float *x)
{
  const vec m = spread(largest(n, x));
  vec lane[PARTS];
  int64_t j = 0;

  UNROLL
  for (int v = 0; v < PARTS; v++) lane[v] = spread(0);
  for (; j + LANES <= n; j += LANES)
    UNROLL
    for (int v = 0; v < PARTS; v++) {
      const vec e = vexp(load(x + j + v * W) - m);

      store(x + j + v * W, e);
      lane[v] += e;
    }
  for (int v = 0; v < PARTS && j + v * W < n; v++) {
    const mask some = lanes_at(j + v * W, n);

    store_some(some, x + j + v * W, vexp(load_some(some, x + j + v * W) - m));
    lane[v] += load_some(some, x + j + v * W);
  }
  const vec scale = spread(1 / sum_lanes(lane));
  for (j = 0; j + W <= n; j += W) store(x + j, load(x + j) * scale);
  if (j < n) store_some(lanes_at(j, n), x + j, load_some(lanes_at(j, n), x + j) * scale);
}

static void softmax(int64_t m, int64_t n, float *x, int64_t rx)
{
  for (int64_t i = 0; i < m; i++) softmax_row(n, x + i * rx);
}

static void softmax_backward(int64_t m, int64_t n, const float *p, int64_t rp, float *g, int64_t rg)
{
  for (int64_t i = 0; i < m; i++, p += rp, g += rg) {
    vec lane[PARTS];
    int64_t j = 0;

    UNROLL
    for (int v = 0; v < PARTS; v++) lane[v] = spread(0);
    for (; j + LANES <= n; j += LANES)
      UNROLL
      for (int v = 0; v < PARTS; v++) lane[v] = mul_add(load(p + j + v * W), load(g + j + v * W), lane[v]);
    for (int v = 0; v < PARTS && j + v * W < n; v++) {
      const mask some = lanes_at(j + v * W, n);

      lane[v] = mul_add(load_some(some, p + j + v * W), load_some(some, g + j + v * W), lane[v]);
    }
    const vec sum = spread(sum_lanes(lane));
    for (j = 0; j + W <= n; j += W) store(g + j, load(p + j) * (load(g + j) - sum));
    if (j < n) {
      const mask some = lanes_at(j, n);

      store_some(some, g + j, load_some(some, p + j) * (load_some(some, g + j) - sum));
    }
  }
}

void FILL_NORM(dx_kernels *k)
{
  k->dropout = dropout;
  k->silu = silu;
  k->silu_backward = silu_backward;
  k->norm_sums = norm_sums;
  k->norm_forward = norm_forward;
  k->norm_backward_sums = norm_backward_sums;
  k->norm_backward = norm_backward;
  k->softmax = softmax;
  k->softmax_backward = softmax_backward;
}
