/* SPDX-License-Identifier: Apache-2.0 */
/* nn/norm.c - see norm.h (Wu, He 2018, "Group normalization").

     n = (x - mean) r,  r = 1 / sqrt(var + eps), over the pixels and channels of a group
     z = n g + o,  g = w (1 + scale),  o = b (1 + scale) + shift;   y = z or silu(z)

   With A_c = sum over pixels of gz and D_c = sum of gz n, in double and in the order of pixels:

     gw_c += D_c (1 + scale)   gb_c += A_c (1 + scale)   gscale_c = w D_c + b A_c   gshift_c = A_c
     gx = r (g gz - (S + n T) / N),  S = sum over the group of g_c A_c,  T = of g_c D_c,  N numbers a group */
#include "nn/norm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/silu.h"

dx_error *dx_norm_init(dx_norm *l, dx_params *p, const char *name, dx_norm_kind kind, int64_t channels,
                       int64_t groups, double eps)
{
  dx_param_entry w = {.dims = 1, .dim = {channels}, .fill = 1}, b = {.dims = 1, .dim = {channels}};

  if (channels % groups)
    return DX_FAIL(CONFIG, "%s: %lld channels do not fall into %lld groups of one size", name,
                   (long long)channels, (long long)groups);
  *l = (dx_norm){.kind = kind, .channels = channels, .groups = groups, .eps = eps};
  snprintf(w.name, sizeof w.name, "%s.w", name);
  snprintf(b.name, sizeof b.name, "%s.b", name);
  DX_TRY(dx_params_add(p, &w, &l->w));
  return dx_params_add(p, &b, &l->b);
}

/* Scratch of one example, all by channel. */
typedef struct { double *sum, *more; float *mean, *rstd, *gain, *offset; } work;

static work take(const dx_norm *l, dx_arena *a)
{
  double *const d = (double *)(void *)dx_arena_floats(a, 4 * l->channels);
  float *const f = dx_arena_floats(a, 4 * l->channels);
  const int64_t c = d && f ? l->channels : 0;

  return (work){.sum = d, .more = d + c, .mean = f, .rstd = f + c, .gain = f + 2 * c, .offset = f + 3 * c};
}

/* Mean and 1/sqrt(var + eps) of each group of one example. */
static void statistics(const dx_norm *l, int64_t pixels, const float *x, const work *t, double *stats)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  double *const restrict sum = t->sum, *const restrict square = t->more;

  memset(sum, 0, (size_t)channels * sizeof *sum);
  memset(square, 0, (size_t)channels * sizeof *square);
  for (int64_t i = 0; i < pixels; i++) {
    const float *const restrict row = x + i * channels;

#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
      const double v = (double)row[c];

      sum[c] += v;
      square[c] += v * v;
    }
  }
  for (int64_t g = 0; g < l->groups; g++) {
    double s = 0, q = 0;

    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      s += sum[c];
      q += square[c];
    }
    const double mean = s / (double)(pixels * size), var = q / (double)(pixels * size) - mean * mean;

    stats[2 * g] = mean;
    stats[2 * g + 1] = 1 / sqrt((var > 0 ? var : 0) + l->eps);
  }
}

/* What one example's channels are shifted and scaled with. */
static void spread(const dx_norm *l, const dx_pass *p, const float *modulate, const double *stats, const work *t)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  const float *const w = p->w + l->w.at, *const b = p->w + l->b.at;

  for (int64_t c = 0; c < channels; c++) {
    const float scale = modulate ? 1 + modulate[c] : 1, shift = modulate ? modulate[channels + c] : 0;

    t->mean[c] = (float)stats[2 * (c / size)];
    t->rstd[c] = (float)stats[2 * (c / size) + 1];
    t->gain[c] = w[c] * scale;
    t->offset[c] = b[c] * scale + shift;
  }
}

void dx_norm_forward(const dx_norm *l, const dx_pass *p, dx_shape s, const float *x, const float *modulate,
                     double *stats, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const work t = take(l, p->work);
  const int64_t pixels = s.h * s.w, channels = l->channels;

  for (int64_t b = 0; b < s.b; b++) {
    const float *const m = modulate ? modulate + b * 2 * channels : NULL;
    double *const st = stats + b * 2 * l->groups;

    statistics(l, pixels, x + b * pixels * channels, &t, st);
    spread(l, p, m, st, &t);
    for (int64_t i = 0; i < pixels; i++) {
      const float *const row = x + (b * pixels + i) * channels;
      float *const to = y + (b * pixels + i) * channels;

#pragma omp simd
      for (int64_t c = 0; c < channels; c++) to[c] = (row[c] - t.mean[c]) * t.rstd[c] * t.gain[c] + t.offset[c];
      if (l->kind == DX_NORM_SILU) dx_silu(channels, to, to);
    }
  }
  dx_arena_release(p->work, mark);
}

/* gz of one example into gx, and its sums A (t->sum) and D (t->more). */
static void backward_sums(const dx_norm *l, int64_t pixels, const float *x, const float *gy, const work *t, float *gx)
{
  const int64_t channels = l->channels;

  memset(t->sum, 0, (size_t)channels * sizeof *t->sum);
  memset(t->more, 0, (size_t)channels * sizeof *t->more);
  for (int64_t i = 0; i < pixels; i++) {
    const float *const row = x + i * channels, *const g = gy + i * channels;
    float *const gz = gx + i * channels;

    if (l->kind == DX_NORM_SILU) {
#pragma omp simd
      for (int64_t c = 0; c < channels; c++) {
        const float z = (row[c] - t->mean[c]) * t->rstd[c] * t->gain[c] + t->offset[c], q = dx_sigmoid(z);

        gz[c] = g[c] * (q * (1 + z * (1 - q)));
      }
    } else if (gz != g) {
      memcpy(gz, g, (size_t)channels * sizeof *gz);
    }
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
      t->sum[c] += (double)gz[c];
      t->more[c] += (double)(gz[c] * ((row[c] - t->mean[c]) * t->rstd[c]));
    }
  }
}

/* The gradients of w, b and modulate; leaves S/N and T/N by channel in sum and more. */
static void backward_channels(const dx_norm *l, const dx_pass *p, int64_t pixels, const float *modulate,
                              const work *t, float *gmodulate)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  const float *const w = p->w + l->w.at, *const b = p->w + l->b.at;
  float *const gw = p->gw + l->w.at, *const gb = p->gw + l->b.at;

  for (int64_t g = 0; g < l->groups; g++) {
    double s = 0, d = 0;

    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      const double scale = modulate ? 1 + (double)modulate[c] : 1;

      gw[c] += (float)(t->more[c] * scale);
      gb[c] += (float)(t->sum[c] * scale);
      if (gmodulate) {
        gmodulate[c] = (float)((double)w[c] * t->more[c] + (double)b[c] * t->sum[c]);
        gmodulate[channels + c] = (float)t->sum[c];
      }
      s += (double)t->gain[c] * t->sum[c];
      d += (double)t->gain[c] * t->more[c];
    }
    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      t->sum[c] = s / (double)(pixels * size);
      t->more[c] = d / (double)(pixels * size);
    }
  }
}

void dx_norm_backward(const dx_norm *l, const dx_pass *p, dx_shape s, const float *x, const float *modulate,
                      const double *stats, const float *gy, float *gx, float *gmodulate)
{
  const size_t mark = dx_arena_mark(p->work);
  const work t = take(l, p->work);
  const int64_t pixels = s.h * s.w, channels = l->channels, each = pixels * channels;

  for (int64_t b = 0; b < s.b; b++) {
    const float *const m = modulate ? modulate + b * 2 * channels : NULL;

    spread(l, p, m, stats + b * 2 * l->groups, &t);
    backward_sums(l, pixels, x + b * each, gy + b * each, &t, gx + b * each);
    backward_channels(l, p, pixels, m, &t, gmodulate ? gmodulate + b * 2 * channels : NULL);
    for (int64_t c = 0; c < channels; c++) t.offset[c] = (float)t.more[c]; /* offset is done with: T/N */
    for (int64_t i = 0; i < pixels; i++) {
      const float *const row = x + b * each + i * channels;
      float *const g = gx + b * each + i * channels;

#pragma omp simd
      for (int64_t c = 0; c < channels; c++) {
        const float n = (row[c] - t.mean[c]) * t.rstd[c];

        g[c] = t.rstd[c] * (t.gain[c] * g[c] - ((float)t.sum[c] + n * t.offset[c]));
      }
    }
  }
  dx_arena_release(p->work, mark);
}

double *dx_norm_stats(const dx_norm *l, int64_t B, dx_arena *a)
{
  return (double *)(void *)dx_arena_floats(a, 4 * B * l->groups);
}

void dx_norm_work(const dx_norm *l, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  take(l, a);
  dx_arena_release(a, mark);
}
