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
  DX_TRY(dx_conv_init(&l->conv1, p, packed, NAME("conv1"), is->conv, is->in, is->out));
  DX_TRY(dx_linear_init(&l->time, p, packed, NAME("time_emb_proj"), is->time, time_out(is), DX_PLAIN));
  DX_TRY(dx_norm_init(&l->norm2, p, NAME("norm2"), DX_NORM_SILU, is->out, is->groups, is->eps));
  DX_TRY(dx_conv_init(&l->conv2, p, packed, NAME("conv2"), is->conv, is->out, is->out));
  if (has_shortcut(l)) DX_TRY(dx_conv_init(&l->shortcut, p, packed, NAME("conv_shortcut"), DX_CONV_1, is->in, is->out));
#undef NAME
  return NULL;
}

void dx_resblock_pack(const dx_resblock *l, const dx_pass *p, dx_pass_kind kind, float *packed)
{
  dx_conv_pack(&l->conv1, p, kind, packed);
  dx_linear_pack(&l->time, p->kernel, p->w, packed);
  dx_conv_pack(&l->conv2, p, kind, packed);
  if (has_shortcut(l)) dx_conv_pack(&l->shortcut, p, kind, packed);
}

dx_shape dx_resblock_out(const dx_resblock *l, dx_shape x)
{
  dx_shape y = dx_resample_out(l->is.resample, x);

  y.c = l->is.out;
  return y;
}

void dx_resblock_place(const dx_resblock *l, dx_shape s, dx_arena *a, dx_resblock_acts *acts)
{
  acts->stats1 = dx_norm_stats(&l->norm1, s.b, a);
  acts->stats2 = dx_norm_stats(&l->norm2, s.b, a);
  acts->t = dx_arena_floats(a, s.b * time_out(&l->is));
  acts->mid = l->is.recompute ? NULL : dx_arena_floats(a, dx_shape_count(dx_resblock_out(l, s)));
}

/* ---- scratch: each part of a pass takes what it needs, for measuring and for real ---- */

static dx_shape resampled(const dx_resblock *l, dx_shape s) { return dx_resample_out(l->is.resample, s); }

/* Examples that the shortcut takes at a time: a few thousand pixels' worth, so that what it joins
   stays in cache. */
static int64_t chunk_of(dx_shape s)
{
  const int64_t n = 1024 / (s.h * s.w);

  return n < 1 ? 1 : n < s.b ? n : s.b;
}

static dx_shape chunk(dx_shape s, int64_t first)
{
  s.b = chunk_of(s) < s.b - first ? chunk_of(s) : s.b - first;
  return s;
}

/* a1 (s): silu(norm1(x)); r1 (r): the same resampled. */
typedef struct { float *a1, *r1; } first_half;

static first_half take_first(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  first_half t;

  t.a1 = dx_arena_floats(a, dx_shape_count(s));
  t.r1 = resamples(l) ? dx_arena_floats(a, dx_shape_count(resampled(l, s))) : t.a1;
  return t;
}

/* xr (r): x resampled; joined (chunk): what the shortcut reads. */
typedef struct { float *a2, *xr, *joined; } second_half;

static second_half take_second(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  second_half t;

  t.a2 = dx_arena_floats(a, dx_shape_count(dx_resblock_out(l, s)));
  t.xr = resamples(l) ? dx_arena_floats(a, dx_shape_count(resampled(l, s))) : NULL;
  t.joined = has_shortcut(l) ? dx_arena_floats(a, dx_shape_count(chunk(s, 0))) : NULL;
  return t;
}

/* Gradients: of t and time; of r1, of a1 and of x through the shortcut or the resampling. */
typedef struct { float *t, *time, *r, *a1, *x; } grads;

static grads take_grads(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  grads g;

  g.t = dx_arena_floats(a, s.b * time_out(&l->is));
  g.time = dx_arena_floats(a, s.b * l->is.time);
  g.r = dx_arena_floats(a, dx_shape_count(resampled(l, s)));
  g.a1 = resamples(l) ? dx_arena_floats(a, dx_shape_count(s)) : g.r;
  g.x = resamples(l) ? dx_arena_floats(a, dx_shape_count(s)) : NULL;
  return g;
}

typedef struct { float *joined, *gjoined; } tail;

static tail take_tail(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  const int64_t n = has_shortcut(l) ? dx_shape_count(chunk(s, 0)) : 0;
  tail t;

  t.joined = dx_arena_floats(a, n);
  t.gjoined = dx_arena_floats(a, n);
  return t;
}

static void measure_first(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  take_first(l, s, a);
  dx_norm_work(&l->norm1, s.b, a);
  dx_conv_work(&l->conv1, resampled(l, s), a);
  dx_arena_release(a, mark);
}

static void measure_backward(const dx_resblock *l, dx_shape s, dx_arena *a)
{
  const dx_shape y = dx_resblock_out(l, s);

  dx_arena_floats(a, dx_shape_count(y)); /* gmid */
  if (l->is.recompute) dx_arena_floats(a, dx_shape_count(y));
  if (l->is.recompute) measure_first(l, s, a);
  const size_t mark = dx_arena_mark(a);
  dx_arena_floats(a, dx_shape_count(y)); /* a2 */
  dx_norm_work(&l->norm2, s.b, a);
  dx_conv_work(&l->conv2, y, a);
  dx_arena_release(a, mark);
  take_grads(l, s, a);
  dx_norm_work(&l->norm2, s.b, a);
  measure_first(l, s, a);
  const size_t inner = dx_arena_mark(a);
  dx_linear_work(&l->time, a);
  dx_arena_release(a, inner);
  take_tail(l, s, a);
  if (has_shortcut(l)) dx_conv_work(&l->shortcut, chunk(s, 0), a);
  dx_norm_work(&l->norm1, s.b, a);
}

void dx_resblock_work(const dx_resblock *l, dx_shape s, dx_arena *forward, dx_arena *backward)
{
  const dx_shape y = dx_resblock_out(l, s);

  if (l->is.recompute) dx_arena_floats(forward, dx_shape_count(y));
  measure_first(l, s, forward);
  take_second(l, s, forward);
  dx_norm_work(&l->norm2, s.b, forward);
  dx_conv_work(&l->conv2, y, forward);
  if (has_shortcut(l)) dx_conv_work(&l->shortcut, chunk(s, 0), forward);
  measure_backward(l, s, backward);
}

/* ---- passes ---- */

static dx_norm_with behind(const dx_resblock *l, const dx_resblock_acts *acts)
{
  return (dx_norm_with){.modulate = l->is.time_kind == DX_TIME_SCALE ? acts->t : NULL,
                        .dropout_number = l->is.dropout_number, .dropout = l->is.dropout};
}

/* a1 and r1; again: from the stats that are there. */
static first_half activate(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const dx_resblock_acts *acts,
                           bool again)
{
  const first_half t = take_first(l, s, p->work);

  if (again) dx_norm_again(&l->norm1, p, s, x, (dx_norm_with){0}, acts->stats1, t.a1);
  else dx_norm_forward(&l->norm1, p, s, x, (dx_norm_with){0}, acts->stats1, t.a1);
  if (resamples(l)) dx_resample_forward(l->is.resample, p, s, t.a1, t.r1);
  return t;
}

static void make_mid(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const dx_resblock_acts *acts,
                     bool again, float *mid)
{
  const size_t mark = dx_arena_mark(p->work);
  const first_half t = activate(l, p, s, x, acts, again);

  dx_conv_forward(&l->conv1, p, resampled(l, s), t.r1,
                  (dx_conv_base){.example = l->is.time_kind == DX_TIME_SCALE ? NULL : acts->t}, mid);
  dx_arena_release(p->work, mark);
}

/* Examples [b, b + c.b) of x, joined in `joined` where there are two. */
static const float *examples(dx_shape c, dx_beside x, int64_t b, float *joined)
{
  const int64_t pixels = c.h * c.w;

  if (!x.b) return x.a + b * pixels * c.c;
  dx_join(c, (dx_beside){x.a + b * pixels * x.ca, x.b + b * pixels * (c.c - x.ca), x.ca}, joined);
  return joined;
}

/* What conv2 adds to: x itself, resampled or through the shortcut. */
static const float *residual(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const second_half *t, float *y)
{
  if (resamples(l)) {
    dx_resample_forward(l->is.resample, p, s, x.a, t->xr);
    return t->xr;
  }
  if (has_shortcut(l)) {
    for (int64_t b = 0; b < s.b; b += chunk_of(s)) {
      const dx_shape c = chunk(s, b);

      dx_conv_forward(&l->shortcut, p, c, examples(c, x, b, t->joined), (dx_conv_base){0}, y + b * s.h * s.w * l->is.out);
    }
    return y;
  }
  return x.b ? examples(s, x, 0, y) : x.a;
}

void dx_resblock_forward(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const float *time,
                         const dx_resblock_acts *acts, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape o = dx_resblock_out(l, s);
  float *const mid = acts->mid ? acts->mid : dx_arena_floats(p->work, dx_shape_count(o));

  assert(!x.b || !resamples(l));
  dx_linear_forward(&l->time, p, s.b, time, acts->t);
  make_mid(l, p, s, x, acts, false, mid);
  const second_half t = take_second(l, s, p->work);
  dx_norm_forward(&l->norm2, p, o, (dx_beside){.a = mid}, behind(l, acts), acts->stats2, t.a2);
  dx_conv_forward(&l->conv2, p, o, t.a2, (dx_conv_base){.pixels = residual(l, p, s, x, &t, y)}, y);
  dx_arena_release(p->work, mark);
}

/* Through conv2 and norm2: gmid from gy. */
static void second_backward(const dx_resblock *l, const dx_pass *p, dx_shape o, const float *mid,
                            const dx_resblock_acts *acts, const float *gy, float *gmid)
{
  const size_t mark = dx_arena_mark(p->work);
  float *const a2 = dx_arena_floats(p->work, dx_shape_count(o));

  dx_norm_again(&l->norm2, p, o, (dx_beside){.a = mid}, behind(l, acts), acts->stats2, a2);
  dx_conv_backward(&l->conv2, p, o, a2, gy, gmid, NULL);
  dx_arena_release(p->work, mark);
}

/* Through norm1, and the shortcut or what stands in its place: gx from ga1 and gy, some examples at a time. */
static void last_backward(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const dx_resblock_acts *acts,
                          const grads *g, const float *gy, dx_beside_out gx)
{
  const int64_t pixels = s.h * s.w, ca = x.b ? x.ca : s.c, cb = s.c - ca;
  const tail t = take_tail(l, s, p->work);

  if (resamples(l)) dx_resample_backward(l->is.resample, p, s, gy, g->x);
  for (int64_t b = 0; b < s.b; b += chunk_of(s)) {
    const dx_shape c = chunk(s, b);
    const float *plus = has_shortcut(l) ? t.gjoined : (g->x ? g->x : gy) + b * pixels * s.c;
    const dx_beside part = {x.a + b * pixels * ca, x.b ? x.b + b * pixels * cb : NULL, x.ca};
    const dx_beside_out gpart = {gx.a + b * pixels * ca, gx.b ? gx.b + b * pixels * cb : NULL, gx.ca, gx.add_a, gx.add_b};

    if (has_shortcut(l))
      dx_conv_backward(&l->shortcut, p, c, examples(c, x, b, t.joined), gy + b * pixels * l->is.out, t.gjoined, NULL);
    dx_norm_backward(&l->norm1, p, c, part, (dx_norm_with){0}, acts->stats1 + b * 2 * l->norm1.groups,
                     g->a1 + b * pixels * s.c, plus, gpart, NULL);
  }
}

void dx_resblock_backward(const dx_resblock *l, const dx_pass *p, dx_shape s, dx_beside x, const float *time,
                          const dx_resblock_acts *acts, const float *gy, dx_beside_out gx, float *gtime)
{
  const size_t mark = dx_arena_mark(p->work);
  const dx_shape r = resampled(l, s), o = dx_resblock_out(l, s);
  const bool scale = l->is.time_kind == DX_TIME_SCALE;
  float *const gmid = dx_arena_floats(p->work, dx_shape_count(o));
  float *const mid = acts->mid ? acts->mid : dx_arena_floats(p->work, dx_shape_count(o));

  if (!acts->mid) make_mid(l, p, s, x, acts, true, mid);
  second_backward(l, p, o, mid, acts, gy, gmid);
  const grads g = take_grads(l, s, p->work);
  dx_norm_backward(&l->norm2, p, o, (dx_beside){.a = mid}, behind(l, acts), acts->stats2, gmid, NULL,
                   (dx_beside_out){.a = gmid}, scale ? g.t : NULL);
  const size_t inner = dx_arena_mark(p->work);
  const first_half t = activate(l, p, s, x, acts, true);
  dx_conv_backward(&l->conv1, p, r, t.r1, gmid, g.r, scale ? NULL : g.t);
  dx_arena_release(p->work, inner);
  dx_linear_backward(&l->time, p, s.b, time, acts->t, g.t, g.time);
  p->kernel->add(s.b * l->is.time, gtime, g.time, gtime);
  if (resamples(l)) dx_resample_backward(l->is.resample, p, s, g.r, g.a1);
  last_backward(l, p, s, x, acts, &g, gy, gx);
  dx_arena_release(p->work, mark);
}
