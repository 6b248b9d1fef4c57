/* SPDX-License-Identifier: Apache-2.0 */
/* nn/silu.h - exp and SiLU in float, with the same bits on every machine.

   Straight-line code of * / + - only (never fma), so that a loop over it is vectorised.
   Error below 3 units in the last place; NaN in, NaN out. */
#ifndef DX_NN_SILU_H
#define DX_NN_SILU_H
#include <stdint.h>
#include <string.h>

/* e^x; x below -87 counts as -87, above 88 as 88: no denormals, no infinity. */
static inline float dx_expf(float x)
{
  const float low = x < -87 ? -87 : x, y = low > 88 ? 88 : low;
  const float n0 = y * 1.44269504f + 0x1.8p23f, n = n0 - 0x1.8p23f; /* whole, nearest to y / ln 2 */
  const float r = (y - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;      /* ln 2 in two parts, the first of 12 bits */
  uint32_t bits;
  float p = 1.f / 5040, power;

  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  memcpy(&bits, &n0, sizeof bits);
  bits = (bits + 127) << 23;
  memcpy(&power, &bits, sizeof power);
  return power * (1 + p);
}

/* 1 / (1 + e^-x). SiLU is x times this; its slope s (1 + x (1 - s)). */
static inline float dx_sigmoid(float x) { return 1 / (1 + dx_expf(-x)); }

static inline void dx_silu(int64_t n, const float *x, float *y) /* y may be x */
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * dx_sigmoid(x[i]);
}

/* gx = gy silu'(x); gx may be gy. */
static inline void dx_silu_backward(int64_t n, const float *x, const float *gy, float *gx)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float s = dx_sigmoid(x[i]);

    gx[i] = gy[i] * (s * (1 + x[i] * (1 - s)));
  }
}
#endif
