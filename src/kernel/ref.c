/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/ref.c - every slot in plain C: what kernel.h says, element by element. */
#include "kernel/kernel.h"

#include "base/math.h"
#include "base/random.h"

enum { LANES = 16 };

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b,
                 int64_t rb, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  for (int64_t i = 0; i < m; i++) {
    float *const row = c + i * rc;

    if (mode == DX_GEMM_SET)
      for (int64_t j = 0; j < n; j++) row[j] = 0;
    else if (mode != DX_GEMM_ADD)
      for (int64_t j = 0; j < n; j++) row[j] = bias[j];
    for (int64_t l = 0; l < k; l++)
      for (int64_t j = 0; j < n; j++)
        row[j] = __builtin_fmaf(a[i * ras + l * cas], b[l * rb + j], row[j]);
    if (mode == DX_GEMM_BIAS_RELU)
      for (int64_t j = 0; j < n; j++) row[j] = row[j] < 0 ? 0 : row[j];
  }
}

static void transpose(int64_t m, int64_t n, const float *x, int64_t rx, float *y, int64_t ry)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) y[j * ry + i] = x[i * rx + j];
}

static void relu_backward(int64_t n, const float *y, const float *gy, float *gx)
{
  for (int64_t i = 0; i < n; i++) gx[i] = y[i] > 0 ? gy[i] : 0;
}

static void add_rows(int64_t m, int64_t n, const float *x, int64_t rx, float *s)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) s[j] += x[i * rx + j];
}

static void add(int64_t n, const float *a, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mix(int64_t n, float p, const float *a, float q, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(p, a[i], q * b[i]);
}

static void from_u8(int64_t n, float scale, float shift, const uint8_t *x, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(scale, x[i], shift);
}

static double sum_lanes(double lane[LANES])
{
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  return lane[0];
}

static double sum_squares(int64_t n, const float *x)
{
  double lane[LANES] = {0};

  for (int64_t i = 0; i < n; i++) lane[i % LANES] += (double)x[i] * x[i];
  return sum_lanes(lane);
}

static double sum_squared_diff(int64_t n, const float *a, const float *b)
{
  double lane[LANES] = {0};

  for (int64_t i = 0; i < n; i++) {
    const double d = (double)a[i] - b[i];

    lane[i % LANES] += d * d;
  }
  return sum_lanes(lane);
}

static void adam(int64_t n, const dx_adam *p, const float *g, float *w, float *m1, float *m2, float *e)
{
  for (int64_t i = 0; i < n; i++) {
    const float gs = p->grad_scale * g[i];

    m1[i] = __builtin_fmaf(p->beta1, m1[i], (1 - p->beta1) * gs);
    m2[i] = __builtin_fmaf(p->beta2, m2[i], (1 - p->beta2) * (gs * gs));
    w[i] = p->decay * w[i] - p->rate * m1[i] / (__builtin_sqrtf(m2[i]) + p->eps);
    if (e) e[i] = __builtin_fmaf(p->ema, e[i], (1 - p->ema) * w[i]);
  }
}

static void normals_of_row(const uint32_t key[2], const uint32_t start[4], int64_t n, float *out)
{
  uint32_t ctr[4] = {start[0], start[1], start[2], start[3]}, w[4];

  for (int64_t j = 0; j < n; j += 4, ctr[0]++) {
    double z[4];

    dx_philox(ctr, key, w);
    dx_box_muller(w[0], w[1], z, z + 1);
    dx_box_muller(w[2], w[3], z + 2, z + 3);
    for (int64_t i = 0; i < 4 && j + i < n; i++) out[j + i] = (float)z[i];
  }
}

static void normals(const uint32_t key[2], const uint32_t ctr[4], int64_t rows, const uint32_t *index,
                    int64_t n, float *out)
{
  for (int64_t r = 0; r < rows; r++) {
    const uint32_t start[4] = {ctr[0], index ? index[r] : ctr[1], ctr[2], ctr[3]};

    normals_of_row(key, start, n, out + r * n);
  }
}

static void dropout_of_row(const uint32_t key[2], const uint32_t start[4], int64_t n, uint32_t drop,
                           float scale, float *x)
{
  uint32_t ctr[4] = {start[0], start[1], start[2], start[3]}, w[4];

  for (int64_t j = 0; j < n; j += 8, ctr[0]++) {
    dx_philox(ctr, key, w);
    for (int64_t i = 0; i < 8 && j + i < n; i++)
      x[j + i] = (w[i / 2] >> (i % 2 * 16) & 0xFFFF) >= drop ? scale * x[j + i] : 0;
  }
}

static void dropout(const uint32_t key[2], const uint32_t ctr[4], int64_t rows, const uint32_t *index,
                    int64_t n, uint32_t drop, float scale, float *x)
{
  for (int64_t r = 0; r < rows; r++) {
    const uint32_t start[4] = {ctr[0], index ? index[r] : ctr[1], ctr[2], ctr[3]};

    dropout_of_row(key, start, n, drop, scale, x + r * n);
  }
}

void dx_kernels_ref(dx_kernels *k)
{
  k->name = "portable";
#define X(slot, result, args) k->slot = slot;
  DX_KERNELS(X)
#undef X
}
