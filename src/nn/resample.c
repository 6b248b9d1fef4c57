/* SPDX-License-Identifier: Apache-2.0 */
/* nn/resample.c - see resample.h. Each way's backward is the other way but for a factor 4. */
#include "nn/resample.h"

#include <assert.h>
#include <string.h>

dx_shape dx_resample_out(dx_resample how, dx_shape s)
{
  if (how == DX_HALF_SIZE) return (dx_shape){s.b, s.h / 2, s.w / 2, s.c};
  if (how == DX_DOUBLE_SIZE) return (dx_shape){s.b, 2 * s.h, 2 * s.w, s.c};
  return s;
}

/* x (b,2h,2w,c) -> y (b,h,w,c), factor times the sum of four. h, w: of y. */
static void gather(int64_t b, int64_t h, int64_t w, int64_t c, float factor, const float *x, float *y)
{
  for (int64_t i = 0; i < b * h; i++)
    for (int64_t j = 0; j < w; j++) {
      const float *const up = x + (2 * i * 2 * w + 2 * j) * c, *const down = up + 2 * w * c;
      float *const to = y + (i * w + j) * c;

      for (int64_t k = 0; k < c; k++) to[k] = factor * ((up[k] + up[c + k]) + (down[k] + down[c + k]));
    }
}

/* x (b,h,w,c) -> y (b,2h,2w,c), factor times each. */
static void spread(int64_t b, int64_t h, int64_t w, int64_t c, float factor, const float *x, float *y)
{
  for (int64_t i = 0; i < b * h; i++) {
    float *const row = y + 2 * i * 2 * w * c;

    for (int64_t j = 0; j < w; j++)
      for (int64_t k = 0; k < c; k++)
        row[2 * j * c + k] = row[(2 * j + 1) * c + k] = factor * x[(i * w + j) * c + k];
    memcpy(row + 2 * w * c, row, (size_t)(2 * w * c) * sizeof *row);
  }
}

void dx_resample_forward(dx_resample how, dx_shape s, const float *x, float *y)
{
  assert(how != DX_HALF_SIZE || (s.h % 2 == 0 && s.w % 2 == 0));
  if (how == DX_HALF_SIZE) gather(s.b, s.h / 2, s.w / 2, s.c, 0.25f, x, y);
  if (how == DX_DOUBLE_SIZE) spread(s.b, s.h, s.w, s.c, 1, x, y);
}

void dx_resample_backward(dx_resample how, dx_shape s, const float *gy, float *gx)
{
  if (how == DX_HALF_SIZE) spread(s.b, s.h / 2, s.w / 2, s.c, 0.25f, gy, gx);
  if (how == DX_DOUBLE_SIZE) gather(s.b, s.h, s.w, s.c, 1, gy, gx);
}
