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
    return DX_FAIL(CONFIG, "%s: %lld channels do not fall into %lld groups of one size (model.channels, model.norm_groups)", name,
                   (long long)channels, (long long)groups);
  *l = (dx_norm){.kind = kind, .channels = channels, .groups = groups, .eps = eps};
  snprintf(w.name, sizeof w.name, "%s.w", name);
  snprintf(b.name, sizeof b.name, "%s.b", name);
  DX_TRY(dx_params_add(p, &w, &l->w));
  return dx_params_add(p, &b, &l->b);
}

/* Scratch of one example, all by channel. */
typedef struct { double *sum, *more; float *mean, *gain, *offset, *first, *second; } work;

enum { WORK = 9 }; /* floats for each channel */

/* Each member's. */
static float *take(const dx_norm *l, dx_arena *a) { return dx_arena_floats_each(a, WORK * l->channels); }

static work work_of(const dx_norm *l, float *all, int member)
{
  const int64_t c = l->channels;
  float *const own = dx_arena_of(all, WORK * c, member), *const f = own + 4 * c;
  double *const d = (double *)(void *)own;

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

/* A pass, as jobs for the crew see it: example after example. */
typedef struct {
  const dx_norm *l;
  const dx_pass *p;
  dx_shape s;
  dx_beside x;
  dx_norm_with with;
  double *fresh; /* statistics that are to be made, or NULL */
  const double *stats;
  float *y, *work;
  /* backward's */
  float *gy, *gmodulate, *gain; /* gain (B,2C): what each example adds to the gradients of w and b */
  const float *plus;
  dx_beside_out gx;
} passing;

static const float *modulation(const passing *q, int64_t b)
{
  return q->with.modulate ? q->with.modulate + b * 2 * q->l->channels : NULL;
}

static void forward_examples(const void *passing_, int64_t from, int64_t to, int member)
{
  const passing *const q = passing_;
  const dx_norm *const l = q->l;
  const work t = work_of(l, q->work, member);
  const int64_t each = dx_shape_dim(q->s);
  dx_drop drop;
  const bool drops = dx_drop_of(q->p, q->with.dropout_number, q->with.dropout, &drop);

  assert(!drops || !q->x.b); /* a piece has no dropout of its own */
  for (int64_t b = from; b < to; b++) {
    piece at[2];
    const int n = pieces(l, q->s, q->x, b, &t, at);

    if (q->fresh) statistics(l, q->p->kernel, at, n, &t, q->fresh + b * 2 * l->groups);
    spread(l, q->p, modulation(q, b), q->stats + b * 2 * l->groups, &t);
    for (int i = 0; i < n; i++) {
      if (drops) drop.ctr[1] = q->p->draw->place[b], at[i].q.drop = &drop;
      q->p->kernel->norm_forward(&at[i].q, q->y + b * each + at[i].from, l->channels);
    }
  }
}

static void forward(passing q)
{
  const size_t mark = dx_arena_mark(q.p->work);

  q.work = take(q.l, q.p->work);
  dx_crew_do(q.p->crew, q.s.b, forward_examples, &q);
  dx_arena_release(q.p->work, mark);
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

  forward((passing){.l = l, .p = p, .s = s, .x = x, .with = with, .fresh = stats, .stats = stats, .y = y});
  tell(l, p, s, 4, false, begin);
}

void dx_norm_again(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                   const double *stats, float *y)
{
  const double begin = dx_profile_begin(p->profile);

  forward((passing){.l = l, .p = p, .s = s, .x = x, .with = with, .stats = stats, .y = y});
  tell(l, p, s, 2, true, begin);
}

/* What an example adds to the gradients of w and b (gain, 2C), and that of modulate, from A (t->sum) and D / r (t->more);
   leaves r S/N and r^2 T/N by channel in first and second. */
static void backward_channels(const dx_norm *l, const dx_pass *p, int64_t pixels, const float *modulate,
                              const double *stats, const work *t, float *gain, float *gmodulate)
{
  const int64_t channels = l->channels, size = channels / l->groups;
  const float *const w = p->w + l->w.at, *const b = p->w + l->b.at;

  for (int64_t g = 0; g < l->groups; g++) {
    const double rstd = stats[2 * g + 1];
    double s = 0, d = 0;

    for (int64_t c = g * size; c < (g + 1) * size; c++) {
      const double scale = modulate ? 1 + (double)modulate[c] : 1, a_c = t->sum[c], d_c = rstd * t->more[c];

      gain[c] = (float)(d_c * scale);
      gain[channels + c] = (float)(a_c * scale);
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

static void backward_examples(const void *passing_, int64_t from, int64_t to, int member)
{
  const passing *const q = passing_;
  const dx_norm *const l = q->l;
  const dx_kernels *const k = q->p->kernel;
  const work t = work_of(l, q->work, member);
  const int64_t pixels = q->s.h * q->s.w, C = l->channels;
  const dx_beside_out gx = q->gx;
  dx_drop drop;
  const bool drops = dx_drop_of(q->p, q->with.dropout_number, q->with.dropout, &drop);

  for (int64_t b = from; b < to; b++) {
    const double *const stats = q->stats + b * 2 * l->groups;
    float *const gy = q->gy + b * pixels * C;
    piece at[2];
    const int n = pieces(l, q->s, q->x, b, &t, at);

    spread(l, q->p, modulation(q, b), stats, &t);
    for (int i = 0; i < n; i++) {
      float *const gz = gy + at[i].from;

      if (drops) drop.ctr[1] = q->p->draw->place[b], at[i].q.drop = &drop;
      k->norm_backward_sums(&at[i].q, gz, C, gz, C, t.sum + at[i].from, t.more + at[i].from);
    }
    backward_channels(l, q->p, pixels, modulation(q, b), stats, &t, q->gain + b * 2 * C,
                      q->gmodulate ? q->gmodulate + b * 2 * C : NULL);
    for (int i = 0; i < n; i++)
      k->norm_backward(&at[i].q, t.first + at[i].from, t.second + at[i].from, gy + at[i].from, C,
                       q->plus ? q->plus + b * pixels * C + at[i].from : NULL, C,
                       i ? gx.add_b : gx.add_a, (i ? gx.b : gx.a) + b * pixels * at[i].q.n, at[i].q.n);
  }
}

void dx_norm_backward(const dx_norm *l, const dx_pass *p, dx_shape s, dx_beside x, dx_norm_with with,
                      const double *stats, float *gy, const float *plus, dx_beside_out gx, float *gmodulate)
{
  const size_t mark = dx_arena_mark(p->work);
  float *const own = take(l, p->work), *const gain = dx_arena_floats(p->work, s.b * 2 * l->channels);
  const passing q = {.l = l, .p = p, .s = s, .x = x, .with = with, .stats = stats, .gy = gy, .work = own, .gain = gain,
                     .plus = plus, .gx = gx, .gmodulate = gmodulate};
  const double begin = dx_profile_begin(p->profile);

  dx_crew_do(p->crew, s.b, backward_examples, &q);
  for (int64_t b = 0; b < s.b; b++) {
    p->kernel->add(l->channels, p->gw + l->w.at, gain + b * 2 * l->channels, p->gw + l->w.at);
    p->kernel->add(l->channels, p->gw + l->b.at, gain + (2 * b + 1) * l->channels, p->gw + l->b.at);
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

void dx_norm_work(const dx_norm *l, int64_t B, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  take(l, a);
  dx_arena_floats(a, B * 2 * l->channels);
  dx_arena_release(a, mark);
}
