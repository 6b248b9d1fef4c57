/* SPDX-License-Identifier: Apache-2.0 */
/* nn/attention.c - see attention.h (Vaswani et al. 2017, eq. 1).

     n = norm(x),  q, k, v = W_q n, W_k n, W_v n
     for each head of d channels:  P = softmax(q k^T / sqrt(d)),  o = P v
     y = x + W_o o

     gv = P^T go    gP = go v^T    gS = P (gP - row sums of P gP)    gq = gS k / sqrt(d)    gk = gS^T q / sqrt(d)

   Backward computes P again: keeping it would take n^2 numbers for every head. */
#include "nn/attention.h"

#include <math.h>
#include <stdio.h>

dx_error *dx_attention_init(dx_attention *l, dx_params *p, int64_t *packed, const char *name, int64_t channels,
                            int64_t head, int64_t groups, double eps)
{
  char sub[64];

  if (channels % head)
    return DX_FAIL(CONFIG, "%s: %lld channels do not fall into heads of %lld", name, (long long)channels, (long long)head);
  *l = (dx_attention){.channels = channels, .heads = channels / head, .groups = groups};
#define NAME(what) (snprintf(sub, sizeof sub, "%s." what, name), sub)
  if (groups) DX_TRY(dx_norm_init(&l->norm, p, NAME("group_norm"), DX_NORM_PLAIN, channels, groups, eps));
  DX_TRY(dx_conv_init(&l->q, p, packed, NAME("to_q"), DX_CONV_1, channels, channels));
  DX_TRY(dx_conv_init(&l->k, p, packed, NAME("to_k"), DX_CONV_1, channels, channels));
  DX_TRY(dx_conv_init(&l->v, p, packed, NAME("to_v"), DX_CONV_1, channels, channels));
  return dx_conv_init(&l->out, p, packed, NAME("to_out.0"), DX_CONV_1, channels, channels);
#undef NAME
}

void dx_attention_pack(const dx_attention *l, const dx_kernels *k, const float *w, float *packed)
{
  dx_conv_pack(&l->q, k, w, packed);
  dx_conv_pack(&l->k, k, w, packed);
  dx_conv_pack(&l->v, k, w, packed);
  dx_conv_pack(&l->out, k, w, packed);
}

void dx_attention_place(const dx_attention *l, dx_shape s, dx_arena *a, dx_attention_acts *acts)
{
  const int64_t n = dx_shape_count(s);

  acts->stats = l->groups ? dx_norm_stats(&l->norm, s.b, a) : NULL;
  acts->n = l->groups ? dx_arena_floats(a, n) : NULL;
  acts->q = dx_arena_floats(a, n);
  acts->k = dx_arena_floats(a, n);
  acts->v = dx_arena_floats(a, n);
  acts->o = dx_arena_floats(a, n);
}

/* Scratch of backward; forward takes p alone. */
typedef struct { float *p, *gp, *go, *gq, *gk, *gv, *gn; } work;

static work take(dx_shape s, dx_arena *a)
{
  const int64_t n = s.h * s.w, all = dx_shape_count(s);
  work t;

  t.p = dx_arena_floats(a, n * n);
  t.gp = dx_arena_floats(a, n * n);
  t.go = dx_arena_floats(a, all);
  t.gq = dx_arena_floats(a, all);
  t.gk = dx_arena_floats(a, all);
  t.gv = dx_arena_floats(a, all);
  t.gn = dx_arena_floats(a, all);
  return t;
}

void dx_attention_work(const dx_attention *l, dx_shape s, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  take(s, a);
  dx_conv_work(&l->q, s, a);
  if (l->groups) dx_norm_work(&l->norm, a);
  dx_arena_release(a, mark);
}

/* P (n,n) of one head of one example. */
static void weights(const dx_attention *l, const dx_kernels *kernel, int64_t n, const float *q, const float *k, float *p)
{
  const int64_t c = l->channels, d = c / l->heads;

  dx_gemm_blis(n, n, d, (float)(1 / sqrt((double)d)), q, c, 1, k, 1, c, 0, p, n);
  kernel->softmax(n, n, p, n);
}

void dx_attention_forward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                          const dx_attention_acts *acts, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  const int64_t n = s.h * s.w, c = l->channels, d = c / l->heads;
  float *const prob = dx_arena_floats(p->work, n * n);
  const float *const in = l->groups ? acts->n : x;

  if (l->groups) dx_norm_forward(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, acts->n);
  dx_conv_forward(&l->q, p, s, in, (dx_conv_base){0}, acts->q);
  dx_conv_forward(&l->k, p, s, in, (dx_conv_base){0}, acts->k);
  dx_conv_forward(&l->v, p, s, in, (dx_conv_base){0}, acts->v);
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < l->heads; h++) {
      const int64_t at = b * n * c + h * d;

      weights(l, p->kernel, n, acts->q + at, acts->k + at, prob);
      dx_gemm_blis(n, d, n, 1, prob, n, 1, acts->v + at, c, 1, 0, acts->o + at, c);
    }
  dx_conv_forward(&l->out, p, s, acts->o, (dx_conv_base){.pixels = x}, y);
  dx_arena_release(p->work, mark);
}

/* One head of one example, `at` floats into all. */
static void head_backward(const dx_attention *l, const dx_kernels *kernel, int64_t n, int64_t at, const dx_attention_acts *acts, const work *t)
{
  const int64_t c = l->channels, d = c / l->heads;
  const float scale = (float)(1 / sqrt((double)d));
  const float *const q = acts->q + at, *const k = acts->k + at, *const v = acts->v + at, *const go = t->go + at;

  weights(l, kernel, n, q, k, t->p);
  dx_gemm_blis(n, d, n, 1, t->p, 1, n, go, c, 1, 0, t->gv + at, c);
  dx_gemm_blis(n, n, d, 1, go, c, 1, v, 1, c, 0, t->gp, n);
  kernel->softmax_backward(n, n, t->p, n, t->gp, n);
  dx_gemm_blis(n, d, n, scale, t->gp, n, 1, k, c, 1, 0, t->gq + at, c);
  dx_gemm_blis(n, d, n, scale, t->gp, 1, n, q, c, 1, 0, t->gk + at, c);
}

void dx_attention_backward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                           const dx_attention_acts *acts, const float *gy, float *gx)
{
  const size_t mark = dx_arena_mark(p->work);
  const int64_t n = s.h * s.w, all = dx_shape_count(s);
  const float *const in = l->groups ? acts->n : x;
  const work t = take(s, p->work);

  dx_conv_backward(&l->out, p, s, acts->o, gy, t.go, NULL);
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < l->heads; h++) head_backward(l, p->kernel, n, (b * n * l->heads + h) * (l->channels / l->heads), acts, &t);
  dx_conv_backward(&l->q, p, s, in, t.gq, t.gn, NULL);
  dx_conv_backward(&l->k, p, s, in, t.gk, gx, NULL);
  p->kernel->add(all, t.gn, gx, t.gn);
  dx_conv_backward(&l->v, p, s, in, t.gv, gx, NULL);
  p->kernel->add(all, t.gn, gx, gx);
  if (l->groups)
    dx_norm_backward(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, gx, gy, (dx_beside_out){.a = gx}, NULL);
  else p->kernel->add(all, gx, gy, gx);
  dx_arena_release(p->work, mark);
}
