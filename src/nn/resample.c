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

typedef struct {
  int64_t w, c; /* of the small image, whose rows are shared among the crew */
  float factor;
  const float *x;
  float *y;
} scaling;

/* x (b,2h,2w,c) -> y (b,h,w,c), factor times the sum of four. */
static void gather(const void *scaling_, int64_t from, int64_t to, int member)
{
  const scaling *const q = scaling_;
  const int64_t w = q->w, c = q->c;

  (void)member;
  for (int64_t i = from; i < to; i++)
    for (int64_t j = 0; j < w; j++) {
      const float *const up = q->x + (2 * i * 2 * w + 2 * j) * c, *const down = up + 2 * w * c;
      float *const out = q->y + (i * w + j) * c;

      for (int64_t k = 0; k < c; k++) out[k] = q->factor * ((up[k] + up[c + k]) + (down[k] + down[c + k]));
    }
}

/* x (b,h,w,c) -> y (b,2h,2w,c), factor times each. */
static void spread(const void *scaling_, int64_t from, int64_t to, int member)
{
  const scaling *const q = scaling_;
  const int64_t w = q->w, c = q->c;

  (void)member;
  for (int64_t i = from; i < to; i++) {
    float *const row = q->y + 2 * i * 2 * w * c;

    for (int64_t j = 0; j < w; j++)
      for (int64_t k = 0; k < c; k++)
        row[2 * j * c + k] = row[(2 * j + 1) * c + k] = q->factor * q->x[(i * w + j) * c + k];
    memcpy(row + 2 * w * c, row, (size_t)(2 * w * c) * sizeof *row);
  }
}

void dx_resample_forward(dx_resample how, const dx_pass *p, dx_shape s, const float *x, float *y)
{
  assert(how != DX_HALF_SIZE || (s.h % 2 == 0 && s.w % 2 == 0));
  const scaling half = {s.w / 2, s.c, 0.25f, x, y}, twice = {s.w, s.c, 1, x, y};

  if (how == DX_HALF_SIZE) dx_crew_do(p->crew, s.b * (s.h / 2), gather, &half);
  if (how == DX_DOUBLE_SIZE) dx_crew_do(p->crew, s.b * s.h, spread, &twice);
}

void dx_resample_backward(dx_resample how, const dx_pass *p, dx_shape s, const float *gy, float *gx)
{
  const scaling half = {s.w / 2, s.c, 0.25f, gy, gx}, twice = {s.w, s.c, 1, gy, gx};

  if (how == DX_HALF_SIZE) dx_crew_do(p->crew, s.b * (s.h / 2), spread, &half);
  if (how == DX_DOUBLE_SIZE) dx_crew_do(p->crew, s.b * s.h, gather, &twice);
}
