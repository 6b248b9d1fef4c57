/* SPDX-License-Identifier: Apache-2.0 */
/* nn/norm.c - see norm.h (Wu, He 2018, "Group normalization").

     n = (x - mean) r,  r = 1 / sqrt(var + eps), over the pixels and channels of a group
     z = n g + o,  g = w (1 + scale),  o = b (1 + scale) + shift;   y = z or dropout(silu(z))

   With A_c = sum over pixels of gz and D_c = sum of gz n:

     gw_c += D_c (1 + scale)   gb_c += A_c (1 + scale)   gscale_c = w D_c + b A_c   gshift_c = A_c
     gx = r (g gz - (S + n T) / N),  S = sum over the group of g_c A_c,  T = of g_c D_c,  N numbers a group

   Sums over pixels are the kernels' (norm_sums); those over channels are in double, in order. */
#include "nn/norm.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
typedef struct { double *sum, *more; float *mean, *gain, *offset, *first, *second; } work;

static work take(const dx_norm *l, dx_arena *a)
{
  double *const d = (double *)(void *)dx_arena_floats(a, 4 * l->channels);
  float *const f = dx_arena_floats(a, 5 * l->channels);
  const int64_t c = d && f ? l->channels : 0;

  return (work){.sum = d, .more = d + c, .mean = f, .gain = f + c, .offset = f + 2 * c, .first = f + 3 * c, .second = f + 4 * c};
}

/* The channels of one example that stand together: [from, from + q.n). */
typedef struct { int64_t from; dx_norm_rows q; } piece;

static int pieces(const dx_norm *l, dx_shape s, dx_beside x, int64_t b, const work *t, piece at[2])
{
  const int64_t pixels = s.h * s.w, ca = x.b ? x.ca : l->channels, cb = l->channels - ca;

  at[0] = (piece){0, {.rows = pixels, .n = ca, .rx = ca, .x = x.a + b * pixels * ca, .mean = t->mean, .gain = t->gain,
                      .offset = t->offset, .silu = l->kind == DX_NORM_SILU}};
  if (!x.b) return 1;
  at[1] = (piece){ca, {.rows = pixels, .n = cb, .rx = cb, .x = x.b + b * pixels * cb, .mean = t->mean + ca,
                       .gain = t->gain + ca, .offset = t->offset + ca, .silu = l->kind == DX_NORM_SILU}};
  return 2;
}

/* Sum of each group's channels, divided by its numbers. */
static double mean_of_group(const dx_norm *l, int64_t pixels, const double *sum, int64_t g)
{
  const int64_t size = l->channels / l->groups;
  double s = 0;

  for (int64_t c = g * size; c < (g + 1) * size; c++) s += sum[c];
  return s / (double)(pixels * size);
}

/* Mean and 1/sqrt(var + eps) of each group of one example, in two passes. */
static void statistics(const dx_norm *l, const dx_kernels *k, const piece *at, int n, const work *t, double *stats)
{
  const int64_t size = l->channels / l->groups, pixels = at[0].q.rows;

  for (int i = 0; i < n; i++)
    k->norm_sums(pixels, at[i].q.n, at[i].q.x, at[i].q.rx, NULL, t->sum + at[i].from);
  for (int64_t g = 0; g < l->groups; g++) {
    const float mean = (float)mean_of_group(l, pixels, t->sum, g);

    stats[2 * g] = (double)mean;
    for (int64_t c = g * size; c < (g + 1) * size; c++) t->mean[c] = mean;
  }
  for (int i = 0; i < n; i++)
    k->norm_sums(pixels, at[i].q.n, at[i].q.x, at[i].q.rx, at[i].q.mean, t->sum + at[i].from);
  for (int64_t g = 0; g < l->groups; g++) stats[2 * g + 1] = 1 / sqrt(mean_of_group(l, pixels, t->sum, g) + l->eps);
}

/* What one example's channels are shifted and scaled with: z = (x - mean) gain + offset. */
static void spread(const dx_norm *l, const dx_pass *p, const float *modulate, const double *stats, const work *t)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  const float *const w = p->w + l->w.at, *const b = p->w + l->b.at;

  for (int64_t c = 0; c < channels; c++) {
    const float scale = modulate ? 1 + modulate[c] : 1, shift = modulate ? modulate[channels + c] : 0;

    t->mean[c] = (float)stats[2 * (c / size)];
    t->gain[c] = (float)stats[2 * (c / size) + 1] * (w[c] * scale);
    t->offset[c] = b[c] * scale + shift;
  }
}

static void forward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with, double *fresh,
                    const double *stats, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const work t = take(l, p->work);
  const int64_t channels = l->channels, each = s.h * s.w * channels;
  dx_drop drop;
  const bool drops = dx_drop_of(p, with.dropout_number, with.dropout, &drop);

  assert(!drops || !x.b); /* a piece has no dropout of its own */
  for (int64_t b = 0; b < s.b; b++) {
    piece at[2];
    const int n = pieces(l, s, x, b, &t, at);

    if (fresh) statistics(l, p->kernel, at, n, &t, fresh + b * 2 * l->groups);
    spread(l, p, with.modulate ? with.modulate + b * 2 * channels : NULL, stats + b * 2 * l->groups, &t);
    for (int i = 0; i < n; i++) {
      if (drops) drop.ctr[1] = p->draw->place[b], at[i].q.drop = &drop;
      p->kernel->norm_forward(&at[i].q, y + b * each + at[i].from, channels);
    }
  }
  dx_arena_release(p->work, mark);
}

/* passes: over all of x or something as large. Forward reads x for the mean, for the squares, and to write y;
   backward reads x and gy and writes over gy, then reads both again to write gx. What is asked for is memory, so
   operations do not count. */
static void tell(const dx_norm *l, const dx_pass *p, dx_shape s, int passes, bool backward, double begin)
{
  dx_profile_end(p->profile, (dx_profile_row){.kind = l->kind == DX_NORM_SILU ? "norm silu" : "norm", .backward = backward,
    .at = l->w.at, .bytes = 4.0 * passes * (double)dx_shape_count(s)}, begin);
}

void dx_norm_forward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with, double *stats,
                     float *y)
{
  const double begin = dx_profile_begin(p->profile);

  forward(l, p, s, x, with, stats, stats, y);
  tell(l, p, s, 4, false, begin);
}

void dx_norm_again(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                   const double *stats, float *y)
{
  const double begin = dx_profile_begin(p->profile);

  forward(l, p, s, x, with, NULL, stats, y);
  tell(l, p, s, 2, true, begin);
}

/* The gradients of w, b and modulate from A (t->sum) and D / r (t->more); leaves r S/N and r^2 T/N
   by channel in first and second. */
static void backward_channels(const dx_norm *l, const dx_pass *p, int64_t pixels, const float *modulate,
                              const double *stats, const work *t, float *gmodulate)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  const float *const w = p->w + l->w.at, *const b = p->w + l->b.at;
  float *const gw = p->gw + l->w.at, *const gb = p->gw + l->b.at;

  for (int64_t g = 0; g < l->groups; g++) {
    const double rstd = stats[2 * g + 1];
    double s = 0, d = 0;

    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      const double scale = modulate ? 1 + (double)modulate[c] : 1, a_c = t->sum[c], d_c = rstd * t->more[c];

      gw[c] += (float)(d_c * scale);
      gb[c] += (float)(a_c * scale);
      if (gmodulate) {
        gmodulate[c] = (float)((double)w[c] * d_c + (double)b[c] * a_c);
        gmodulate[channels + c] = (float)a_c;
      }
      s += (double)w[c] * scale * a_c;
      d += (double)w[c] * scale * d_c;
    }
    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      t->first[c] = (float)(rstd * s / (double)(pixels * size));
      t->second[c] = (float)(rstd * rstd * d / (double)(pixels * size));
    }
  }
}

void dx_norm_backward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                      const double *stats, float *gy, const float *plus, dx_beside_out gx, float *gmodulate)
{
  const size_t mark = dx_arena_mark(p->work);
  const work t = take(l, p->work);
  const int64_t pixels = s.h * s.w, channels = l->channels, each = pixels * channels;
  dx_drop drop;
  const bool drops = dx_drop_of(p, with.dropout_number, with.dropout, &drop);
  const double begin = dx_profile_begin(p->profile);

  for (int64_t b = 0; b < s.b; b++) {
    const float *const m = with.modulate ? with.modulate + b * 2 * channels : NULL;
    piece at[2];
    const int n = pieces(l, s, x, b, &t, at);

    spread(l, p, m, stats + b * 2 * l->groups, &t);
    for (int i = 0; i < n; i++) {
      float *const gz = gy + b * each + at[i].from;

      if (drops) drop.ctr[1] = p->draw->place[b], at[i].q.drop = &drop;
      p->kernel->norm_backward_sums(&at[i].q, gz, channels, gz, channels, t.sum + at[i].from, t.more + at[i].from);
    }
    backward_channels(l, p, pixels, m, stats + b * 2 * l->groups, &t, gmodulate ? gmodulate + b * 2 * channels : NULL);
    for (int i = 0; i < n; i++)
      p->kernel->norm_backward(&at[i].q, t.first + at[i].from, t.second + at[i].from, gy + b * each + at[i].from, channels,
                               plus ? plus + b * each + at[i].from : NULL, channels,
                               i ? gx.add_b : gx.add_a, (i ? gx.b : gx.a) + b * pixels * at[i].q.n, at[i].q.n);
  }
  tell(l, p, s, 6, true, begin);
  dx_arena_release(p->work, mark);
}

void dx_join(dx_shape s, dx_beside x, float *y)
{
  const int64_t ca = x.ca, cb = s.c - ca;

  for (int64_t i = 0; i < s.b * s.h * s.w; i++) {
    memcpy(y + i * s.c, x.a + i * ca, (size_t)ca * sizeof *y);
    memcpy(y + i * s.c + ca, x.b + i * cb, (size_t)cb * sizeof *y);
  }
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
