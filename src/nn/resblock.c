/* SPDX-License-Identifier: Apache-2.0 */
/* nn/resblock.c - see resblock.h (Ho, Jain, Abbeel 2020, appendix B; with scale and shift
   Dhariwal, Nichol 2021, "adaptive group normalization").

     a1 = R silu(norm1(x))                        R: half, double or the same size
     add:    mid = conv1(a1) + P time,  a2 = dropout(silu(norm2(mid)))
     scale:  mid = conv1(a1),  (s, f) = P time,  a2 = dropout(silu(norm2(mid) (1 + s) + f))
     y = shortcut(R x) + conv2(a2)                shortcut: 1x1, or nothing where in = out */
#include "nn/resblock.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool resamples(const dx_resblock *l) { return l->is.resample != DX_SAME_SIZE; }
static bool has_shortcut(const dx_resblock *l) { return l->is.in != l->is.out; }
static int64_t time_out(const dx_resblock_config *is) { return is->time_kind == DX_TIME_SCALE ? 2 * is->out : is->out; }

dx_error *dx_resblock_init(dx_resblock *l, dx_params *p, int64_t *packed, const char *name,
                           const dx_resblock_config *is)
{
  char sub[64];

  assert(is->resample == DX_SAME_SIZE || is->in == is->out);
  *l = (dx_resblock){.is = *is};
#define NAME(what) (snprintf(sub, sizeof sub, "%s." what, name), sub)
  DX_TRY(dx_norm_init(&l->norm1, p, NAME("norm1"), DX_NORM_SILU, is->in, is->groups, is->eps));
  DX_TRY(dx_conv_init(&l->conv1, p, packed, NAME("conv1"), DX_CONV_3, is->in, is->out));
  DX_TRY(dx_linear_init(&l->time, p, packed, NAME("time_emb_proj"), is->time, time_out(is), DX_PLAIN));
  DX_TRY(dx_norm_init(&l->norm2, p, NAME("norm2"), DX_NORM_SILU, is->out, is->groups, is->eps));
  DX_TRY(dx_conv_init(&l->conv2, p, packed, NAME("conv2"), DX_CONV_3, is->out, is->out));
  if (has_shortcut(l)) DX_TRY(dx_conv_init(&l->shortcut, p, packed, NAME("conv_shortcut"), DX_CONV_1, is->in, is->out));
#undef NAME
  return NULL;
}

void dx_resblock_pack(const dx_resblock *l, const dx_kernels *k, const float *w, float *packed)
{
  dx_conv_pack(&l->conv1, k, w, packed);
  dx_linear_pack(&l->time, k, w, packed);
  dx_conv_pack(&l->conv2, k, w, packed);
  if (has_shortcut(l)) dx_conv_pack(&l->shortcut, k, w, packed);
}

dx_shape dx_resblock_out(const dx_resblock *l, dx_shape x)
{
  dx_shape y = dx_resample_out(l->is.resample, x);

  y.c = l->is.out;
  return y;
}

void dx_resblock_place(const dx_resblock *l, dx_shape s, dx_arena *a, dx_resblock_acts *acts)
{
  const dx_shape r = dx_resample_out(l->is.resample, s), y = dx_resblock_out(l, s);

  acts->stats1 = dx_norm_stats(&l->norm1, s.b, a);
  acts->stats2 = dx_norm_stats(&l->norm2, s.b, a);
  acts->a1 = dx_arena_floats(a, dx_shape_count(s));
  acts->r1 = resamples(l) ? dx_arena_floats(a, dx_shape_count(r)) : acts->a1;
  acts->xr = resamples(l) ? dx_arena_floats(a, dx_shape_count(r)) : NULL;
  acts->t = dx_arena_floats(a, s.b * time_out(&l->is));
  acts->mid = dx_arena_floats(a, dx_shape_count(y));
  acts->a2 = dx_arena_floats(a, dx_shape_count(y));
}

/* Gradients inside the block, from the arena of the pass. */
typedef struct { float *mid, *r, *x, *t, *time; } grads;

static grads take(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  const dx_shape r = dx_resample_out(l->is.resample, s);
  grads g;

  g.mid = dx_arena_floats(a, dx_shape_count(dx_resblock_out(l, s)));
  g.r = resamples(l) ? dx_arena_floats(a, dx_shape_count(r)) : NULL;
  g.x = resamples(l) || has_shortcut(l) ? dx_arena_floats(a, dx_shape_count(s)) : NULL;
  g.t = dx_arena_floats(a, s.b * time_out(&l->is));
  g.time = dx_arena_floats(a, s.b * l->is.time);
  return g;
}

void dx_resblock_work(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);
  const dx_shape y = dx_resblock_out(l, s);
  dx_shape r = dx_resample_out(l->is.resample, s);

  take(l, s, a);
  dx_norm_work(&l->norm1, a);
  dx_norm_work(&l->norm2, a);
  dx_conv_work(&l->conv1, r, a);
  dx_conv_work(&l->conv2, y, a);
  if (has_shortcut(l)) dx_conv_work(&l->shortcut, r, a);
  dx_linear_work(&l->time, a);
  dx_arena_release(a, mark);
}

static dx_norm_with behind(const dx_resblock *l, const dx_resblock_acts *acts)
{
  return (dx_norm_with){.modulate = l->is.time_kind == DX_TIME_SCALE ? acts->t : NULL,
                        .dropout_number = l->is.dropout_number, .dropout = l->is.dropout};
}

void dx_resblock_forward(const dx_resblock *l, const dx_pass *p, dx_shape s, const float *x, const float *time,
                         const dx_resblock_acts *acts, float *y)
{
  const dx_shape r = dx_resample_out(l->is.resample, s), o = dx_resblock_out(l, s);
  const bool scale = l->is.time_kind == DX_TIME_SCALE;
  const float *residual = x;

  dx_norm_forward(&l->norm1, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats1, acts->a1);
  if (resamples(l)) {
    dx_resample_forward(l->is.resample, s, acts->a1, acts->r1);
    dx_resample_forward(l->is.resample, s, x, acts->xr);
    residual = acts->xr;
  }
  dx_linear_forward(&l->time, p, s.b, time, acts->t);
  dx_conv_forward(&l->conv1, p, r, acts->r1, (dx_conv_base){.example = scale ? NULL : acts->t}, acts->mid);
  dx_norm_forward(&l->norm2, p, o, (dx_beside){.a = acts->mid}, behind(l, acts), acts->stats2, acts->a2);
  if (has_shortcut(l)) {
    dx_conv_forward(&l->shortcut, p, r, residual, (dx_conv_base){0}, y);
    residual = y;
  }
  dx_conv_forward(&l->conv2, p, o, acts->a2, (dx_conv_base){.pixels = residual}, y);
}

void dx_resblock_backward(const dx_resblock *l, const dx_pass *p, dx_shape s, const float *x, const float *time,
                          const dx_resblock_acts *acts, const float *gy, float *gx, float *gtime)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape r = dx_resample_out(l->is.resample, s), o = dx_resblock_out(l, s);
  const bool scale = l->is.time_kind == DX_TIME_SCALE;
  const grads g = take(l, s, p->work);
  float *const gr = resamples(l) ? g.r : gx;
  const float *residual = g.x ? g.x : gy;

  dx_conv_backward(&l->conv2, p, o, acts->a2, gy, g.mid, NULL);
  dx_norm_backward(&l->norm2, p, o, (dx_beside){.a = acts->mid}, behind(l, acts), acts->stats2, g.mid, NULL,
                   (dx_beside_out){.a = g.mid}, scale ? g.t : NULL);
  dx_conv_backward(&l->conv1, p, r, acts->r1, g.mid, gr, scale ? NULL : g.t);
  dx_linear_backward(&l->time, p, s.b, time, acts->t, g.t, g.time);
  p->kernel->add(s.b * l->is.time, gtime, g.time, gtime);
  if (resamples(l)) dx_resample_backward(l->is.resample, s, gr, gx);
  if (resamples(l)) dx_resample_backward(l->is.resample, s, gy, g.x);
  if (has_shortcut(l)) dx_conv_backward(&l->shortcut, p, s, x, gy, g.x, NULL);
  dx_norm_backward(&l->norm1, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats1, gx, residual,
                   (dx_beside_out){.a = gx}, NULL);
  dx_arena_release(p->work, mark);
}
