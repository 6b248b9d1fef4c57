/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector.c - the slots for vectors of 8 and of 16 floats: see vector.h. */
#include "kernel/vector.h"

#include <string.h>

#include "base/math.h"

/* ---- transpose: 8 x 8 at a time ------------------------------------------------------- */

/* Rows are zipped to pairs, pairs to fours within each half of a vector, then halves change places. */
INLINE void transpose_8x8(const float *x, int64_t rx, float *y, int64_t ry)
{
  __m256 r[8], s[8];

  UNROLL
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(x + i * rx);
  UNROLL
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xEE);
  }
  UNROLL
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(y + i * ry, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(y + (i + 4) * ry, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

static void transpose(int64_t m, int64_t n, const float *x, int64_t rx, float *y, int64_t ry)
{
  const int64_t m8 = m / 8 * 8, n8 = n / 8 * 8;

  for (int64_t i = 0; i < m8; i += 8)
    for (int64_t j = 0; j < n8; j += 8) transpose_8x8(x + i * rx + j, rx, y + j * ry + i, ry);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = i < m8 ? n8 : 0; j < n; j++) y[j * ry + i] = x[i * rx + j];
}

/* ---- loops over long vectors: left to the compiler ------------------------------------ */

static void relu_backward(int64_t n, const float *y, const float *gy, float *gx)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) gx[i] = y[i] > 0 ? gy[i] : 0;
}

static void add(int64_t n, const float *a, const float *b, float *y)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mix(int64_t n, float p, const float *a, float q, const float *b, float *y)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(p, a[i], q * b[i]);
}

static void from_u8(int64_t n, float scale, float shift, const uint8_t *x, float *y)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(scale, x[i], shift);
}

/* averaged is a constant after inlining. */
INLINE void adam_loop(int64_t n, const dx_adam *p, const float *g, float *w, float *m1, float *m2, float *e,
                      int averaged)
{
  const dx_adam q = *p;

#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float gs = q.grad_scale * g[i];
    const float first = dx_adam_moment(__builtin_fmaf(q.beta1, m1[i], (1 - q.beta1) * gs));
    const float second = dx_adam_moment(__builtin_fmaf(q.beta2, m2[i], (1 - q.beta2) * (gs * gs)));
    const float next = q.decay * w[i] - q.rate * first / (__builtin_sqrtf(second) + q.eps);

    m1[i] = first;
    m2[i] = second;
    w[i] = next;
    if (averaged) e[i] = __builtin_fmaf(q.ema, e[i], (1 - q.ema) * next);
  }
}

static void adam(int64_t n, const dx_adam *p, const float *g, float *w, float *m1, float *m2, float *e)
{
  if (e) adam_loop(n, p, g, w, m1, m2, e, 1);
  else adam_loop(n, p, g, w, m1, m2, w, 0);
}

/* ---- sums ----------------------------------------------------------------------------- */

/* vecs and tail are constants after inlining. */
INLINE void add_rows_strip(int64_t m, const float *x, int64_t rx, float *s, int vecs, int tail, mask last)
{
  vec sum[4];

  UNROLL
  for (int v = 0; v < vecs; v++) sum[v] = get(tail, last, s + v * W);
  for (int64_t i = 0; i < m; i++, x += rx)
    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] += get(tail, last, x + v * W);
  UNROLL
  for (int v = 0; v < vecs; v++) put(tail, last, s + v * W, sum[v]);
}

static void add_rows(int64_t m, int64_t n, const float *x, int64_t rx, float *s)
{
  const mask last = first_lanes(n % W);

  for (; n >= 4 * W; n -= 4 * W, x += 4 * W, s += 4 * W) add_rows_strip(m, x, rx, s, 4, 0, last);
  for (; n >= W; n -= W, x += W, s += W) add_rows_strip(m, x, rx, s, 1, 0, last);
  if (n) add_rows_strip(m, x, rx, s, 1, 1, last);
}

enum { LANES = 16, HALF = W / 2, PARTS = LANES / HALF };

/* Add the squares of 16 floats, or of 16 differences, to their lanes. */
INLINE void add_squares(const float *a, const float *b, doubles lane[PARTS])
{
  UNROLL
  for (int v = 0; v < PARTS; v++) {
    doubles x = widen(a + v * HALF);

    if (b) x -= widen(b + v * HALF);
    lane[v] += x * x;
  }
}

INLINE double sum_of_squares(int64_t n, const float *a, const float *b)
{
  doubles lane[PARTS];
  float rest_a[LANES] = {0}, rest_b[LANES] = {0}; /* adding a square of 0 changes nothing */
  double sum[LANES];
  int64_t i = 0;

  memset(lane, 0, sizeof lane);
  for (; i + LANES <= n; i += LANES) add_squares(a + i, b ? b + i : NULL, lane);
  memcpy(rest_a, a + i, (size_t)(n - i) * sizeof *a);
  if (b) memcpy(rest_b, b + i, (size_t)(n - i) * sizeof *b);
  add_squares(rest_a, b ? rest_b : NULL, lane);
  memcpy(sum, lane, sizeof sum);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) sum[l] += sum[l + half];
  return sum[0];
}

static double sum_squares(int64_t n, const float *x) { return sum_of_squares(n, x, NULL); }
static double sum_squared_diff(int64_t n, const float *a, const float *b) { return sum_of_squares(n, a, b); }

/* ---- normals: one Philox block per lane, of one row or of many --------------------------- */

typedef struct {
  uint64_t word[4][LANES]; /* counters, then random words, in the low halves */
  float z[LANES][4];
} blocks;

/* dx_philox, lane by lane. The high halves fill with what no product reads. */
static void philox(const uint32_t key[2], blocks *q)
{
  const wide m0 = spread_word(0xD2511F53u), m1 = spread_word(0xCD9E8D57u);

  for (int part = 0; part < LANES; part += HALF) {
    uint32_t k0 = key[0], k1 = key[1];
    wide x[4];

    UNROLL
    for (int i = 0; i < 4; i++) memcpy(x + i, q->word[i] + part, sizeof *x);
    for (int round = 0; round < 10; round++) {
      const wide p0 = times(m0, x[0]), p1 = times(m1, x[2]);

      x[0] = high(p1) ^ x[1] ^ spread_word(k0);
      x[1] = p1;
      x[2] = high(p0) ^ x[3] ^ spread_word(k1);
      x[3] = p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    UNROLL
    for (int i = 0; i < 4; i++) memcpy(q->word[i] + part, x + i, sizeof *x);
  }
}

/* Normals 2 pair and 2 pair + 1 of each block. */
static void box_muller(blocks *q, int pair)
{
  const uint64_t *w0 = q->word[2 * pair], *w1 = q->word[2 * pair + 1];
  float z0[LANES], z1[LANES];

#pragma omp simd
  for (int l = 0; l < LANES; l++) {
    double a, b;

    dx_box_muller(w0[l] & 0xffffffff, w1[l] & 0xffffffff, &a, &b);
    z0[l] = (float)a;
    z1[l] = (float)b;
  }
  for (int l = 0; l < LANES; l++) {
    q->z[l][2 * pair] = z0[l];
    q->z[l][2 * pair + 1] = z1[l];
  }
}

static void normals(const uint32_t key[2], const uint32_t ctr[4], int64_t rows, const uint32_t *index,
                    int64_t n, float *out)
{
  const int64_t per_row = (n + 3) / 4;
  int64_t row = 0, at = 0; /* the next block: its row, its place there */
  blocks q;

  for (int64_t left = n ? rows * per_row : 0; left > 0; left -= LANES) {
    const int used = left < LANES ? (int)left : LANES;
    float *to[LANES];
    int count[LANES];

    for (int l = 0; l < LANES; l++) { /* lanes that are not used repeat the last block */
      q.word[0][l] = (uint32_t)(ctr[0] + (uint32_t)at);
      q.word[1][l] = index ? index[row] : ctr[1];
      q.word[2][l] = ctr[2];
      q.word[3][l] = ctr[3];
      to[l] = out + row * n + 4 * at;
      count[l] = n - 4 * at < 4 ? (int)(n - 4 * at) : 4;
      if (l + 1 < used && ++at == per_row) at = 0, row++;
    }
    if (++at == per_row) at = 0, row++;
    philox(key, &q);
    box_muller(&q, 0);
    if (n > 2) box_muller(&q, 1);
    for (int l = 0; l < used; l++)
      for (int i = 0; i < count[l]; i++) to[l][i] = q.z[l][i];
  }
}

void FILL(dx_kernels *k)
{
  k->name = NAME;
  k->transpose = transpose;
  k->relu_backward = relu_backward;
  k->add_rows = add_rows;
  k->add = add;
  k->mix = mix;
  k->from_u8 = from_u8;
  k->sum_squares = sum_squares;
  k->sum_squared_diff = sum_squared_diff;
  k->adam = adam;
  k->normals = normals;
  FILL_GEMM(k);
  FILL_NORM(k);
  FILL_WINOGRAD(k);
}
