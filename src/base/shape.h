/* SPDX-License-Identifier: Apache-2.0 */
/* base/shape.h - the sizes of a block of samples, channels last. */
#ifndef DX_BASE_SHAPE_H
#define DX_BASE_SHAPE_H
#include <stdbool.h>
#include <stdint.h>

/* b samples of h x w pixels with c channels. A 2-D point is 1 x 1 x 2. */
typedef struct { int64_t b, h, w, c; } dx_shape;

/* Numbers in one sample (the dimension D of the data). */
static inline int64_t dx_shape_dim(dx_shape s) { return s.h * s.w * s.c; }
static inline int64_t dx_shape_count(dx_shape s) { return s.b * dx_shape_dim(s); }
/* Are h, w, c those of a sample: from 1, and D below 2^31, so that sizes of anything made of samples fit
   64 bits? For numbers that come from a file. */
static inline bool dx_shape_is_sample(dx_shape s)
{
  return s.h >= 1 && s.w >= 1 && s.c >= 1 && s.h <= INT32_MAX && s.w <= INT32_MAX / s.h && s.c <= INT32_MAX / (s.h * s.w);
}
#endif
