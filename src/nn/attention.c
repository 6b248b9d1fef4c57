/* SPDX-License-Identifier: Apache-2.0 */
/* nn/attention.c - see attention.h (Vaswani et al. 2017, eq. 1).

     n = norm(x),  q, k, v = W_q n, W_k n, W_v n
     for each head of d channels:  P = softmax(q k^T / sqrt(d)),  o = P v
     y = x + W_o o

     gv = P^T go    gP = go v^T    gS = P (gP - row sums of P gP)    gq = gS k / sqrt(d)    gk = gS^T q / sqrt(d)

   P is made for a block of rows (queries) at a time, which stays in cache, and again in backward:
   no n x n numbers are kept anywhere. The factor 1 / sqrt(d) goes into a copy of the block's q; k and v of a
   head are turned once for the products with k^T and v^T. */
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

static void place_qkvo(dx_shape s, dx_arena *a, dx_attention_acts *acts)
{
  const int64_t n = dx_shape_count(s);

  acts->q = dx_arena_floats(a, n);
  acts->k = dx_arena_floats(a, n);
  acts->v = dx_arena_floats(a, n);
  acts->o = dx_arena_floats(a, n);
}

void dx_attention_place(const dx_attention *l, dx_shape s, dx_arena *a, dx_attention_acts *acts)
{
  acts->stats = l->groups ? dx_norm_stats(&l->norm, s.b, a) : NULL;
  if (!l->recompute) place_qkvo(s, a, acts);
}

/* Queries in a block, at most: two blocks of P fit into a core's second cache. */
static int64_t rows_of(int64_t n)
{
  const int64_t rows = 65536 / n;

  return rows < 32 ? (n < 32 ? n : 32) : rows < n ? rows : n;
}

/* What one head needs: q of a block, scaled; k turned (d,n); a block of P. */
typedef struct { float *q, *k, *p; } one_head;

static one_head take_head(const dx_attention *l, dx_shape s, dx_arena *a)
{
  const int64_t n = s.h * s.w, d = l->channels / l->heads;
  one_head t;

  t.q = dx_arena_floats(a, rows_of(n) * d);
  t.k = dx_arena_floats(a, d * n);
  t.p = dx_arena_floats(a, rows_of(n) * n);
  return t;
}

/* Scratch of backward: v turned, and the gradient of a block of P; gradients of o, q, k, v; gn and one more sum. */
typedef struct { one_head head; float *v, *gp, *n, *go, *gq, *gk, *gv, *gn, *more; } work;

static float *take_norm(const dx_attention *l, dx_shape s, dx_arena *a)
{
  return l->groups ? dx_arena_floats(a, dx_shape_count(s)) : NULL;
}

static work take(const dx_attention *l, dx_shape s, dx_arena *a)
{
  const int64_t n = s.h * s.w, all = dx_shape_count(s);
  work t;

  t.head = take_head(l, s, a);
  t.v = dx_arena_floats(a, n * (l->channels / l->heads));
  t.gp = dx_arena_floats(a, rows_of(n) * n);
  t.n = take_norm(l, s, a);
  t.gq = dx_arena_floats(a, all);
  t.gk = dx_arena_floats(a, all);
  t.gv = dx_arena_floats(a, all);
  t.go = t.gn = dx_arena_floats(a, all); /* go is done with when gn begins */
  t.more = dx_arena_floats(a, all);
  return t;
}

void dx_attention_work(const dx_attention *l, dx_shape s, dx_arena *forward, dx_arena *backward)
{
  dx_attention_acts acts;

  if (l->recompute) place_qkvo(s, forward, &acts);
  if (l->recompute) place_qkvo(s, backward, &acts);
  take_norm(l, s, forward);
  take(l, s, backward);
  for (int i = 0; i < 2; i++) {
    dx_arena *const a = i ? backward : forward;

    dx_conv_work(&l->q, s, a);
    if (l->groups) dx_norm_work(&l->norm, a);
  }
  take_head(l, s, forward);
  if (l->recompute) take_head(l, s, backward);
}

/* Keys or values of a head (n,d), rows c apart, turned. */
static void turn(const dx_attention *l, const dx_kernels *kernel, int64_t n, const float *x, float *turned)
{
  kernel->transpose(n, l->channels / l->heads, x, l->channels, turned, n);
}

/* Rows [first, first + rows) of P of one head of one example, whose keys are turned; q stands at row first. */
static void weights(const dx_attention *l, const dx_kernels *kernel, int64_t rows, int64_t n, const float *q, const one_head *t)
{
  const int64_t c = l->channels, d = c / l->heads;
  const float scale = (float)(1 / sqrt((double)d));

  for (int64_t i = 0; i < rows; i++) kernel->mix(d, scale, q + i * c, 0, q + i * c, t->q + i * d);
  kernel->gemm(rows, n, d, t->q, d, 1, t->k, n, t->p, n, NULL, DX_GEMM_SET);
  kernel->softmax(rows, n, t->p, n);
}

/* What the heads cost: products of tokens with tokens, 2 forward and, with P computed again, 5 backward. */
static void tell(const dx_attention *l, const dx_pass *p, dx_shape s, int products, bool backward, double begin)
{
  const double n = (double)(s.h * s.w);

  dx_profile_end(p->profile, (dx_profile_row){.kind = "attention", .backward = backward, .at = l->q.w.at,
    .flops = 2 * products * n * n * (double)(s.b * l->channels),
    .bytes = 4.0 * (backward ? 8 : 4) * (double)dx_shape_count(s)}, begin);
}

/* q, k, v from the input of their projections, and o. */
static void attend(const dx_attention *l, const dx_pass *p, dx_shape s, const float *in, const dx_attention_acts *acts)
{
  const size_t mark = dx_arena_mark(p->work);
  const int64_t n = s.h * s.w, c = l->channels, d = c / l->heads, rows = rows_of(n);

  dx_conv_forward(&l->q, p, s, in, (dx_conv_base){0}, acts->q);
  dx_conv_forward(&l->k, p, s, in, (dx_conv_base){0}, acts->k);
  dx_conv_forward(&l->v, p, s, in, (dx_conv_base){0}, acts->v);
  const one_head t = take_head(l, s, p->work);
  const double begin = dx_profile_begin(p->profile);
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < l->heads; h++) {
      const int64_t head = b * n * c + h * d;

      turn(l, p->kernel, n, acts->k + head, t.k);
      for (int64_t i = 0; i < n; i += rows) {
        const int64_t at = head + i * c, m = i + rows < n ? rows : n - i;

        weights(l, p->kernel, m, n, acts->q + at, &t);
        p->kernel->gemm(m, d, n, t.p, n, 1, acts->v + head, c, acts->o + at, c, NULL, DX_GEMM_SET);
      }
    }
  tell(l, p, s, 2, false, begin);
  dx_arena_release(p->work, mark);
}

void dx_attention_forward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                          const dx_attention_acts *acts, float *y)
{
  const size_t mark = dx_arena_mark(p->work);
  dx_attention_acts t = *acts;

  if (l->recompute) place_qkvo(s, p->work, &t);
  float *const normed = take_norm(l, s, p->work);
  if (l->groups) dx_norm_forward(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, normed);
  attend(l, p, s, l->groups ? normed : x, &t);
  dx_conv_forward(&l->out, p, s, t.o, (dx_conv_base){.pixels = x}, y);
  dx_arena_release(p->work, mark);
}

/* One block of queries of one head of one example, that stands `at` floats into all; the head's keys
   stand at `head`. sum: SET where the block is the head's first, else ADD. */
static void block_backward(const dx_attention *l, const dx_kernels *kernel, int64_t rows, int64_t n, int64_t at,
                           int64_t head, const dx_attention_acts *acts, const work *t, dx_gemm_mode sum)
{
  const int64_t c = l->channels, d = c / l->heads;
  const float scale = (float)(1 / sqrt((double)d));
  const float *const go = t->go + at, *const prob = t->head.p;
  float *const gq = t->gq + at;

  weights(l, kernel, rows, n, acts->q + at, &t->head);
  kernel->gemm(n, d, rows, prob, 1, n, go, c, t->gv + head, c, NULL, sum);
  kernel->gemm(rows, n, d, go, c, 1, t->v, n, t->gp, n, NULL, DX_GEMM_SET);
  kernel->softmax_backward(rows, n, prob, n, t->gp, n);
  kernel->gemm(rows, d, n, t->gp, n, 1, acts->k + head, c, gq, c, NULL, DX_GEMM_SET);
  for (int64_t i = 0; i < rows; i++) kernel->mix(d, scale, gq + i * c, 0, gq + i * c, gq + i * c);
  kernel->gemm(n, d, rows, t->gp, 1, n, t->head.q, d, t->gk + head, c, NULL, sum);
}

static void heads_backward(const dx_attention *l, const dx_pass *p, dx_shape s, const dx_attention_acts *acts, const work *t)
{
  const int64_t n = s.h * s.w, c = l->channels, rows = rows_of(n);
  const double begin = dx_profile_begin(p->profile);

  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < l->heads; h++) {
      const int64_t head = b * n * c + h * (c / l->heads);

      turn(l, p->kernel, n, acts->k + head, t->head.k);
      turn(l, p->kernel, n, acts->v + head, t->v);
      for (int64_t i = 0; i < n; i += rows)
        block_backward(l, p->kernel, i + rows < n ? rows : n - i, n, head + i * c, head, acts, t, i ? DX_GEMM_ADD : DX_GEMM_SET);
    }
  tell(l, p, s, 5, true, begin);
}

void dx_attention_backward(const dx_attention *l, const dx_pass *p, dx_shape s, const float *x,
                           const dx_attention_acts *acts, const float *gy, bool add, float *gx)
{
  const size_t mark = dx_arena_mark(p->work);
  const int64_t all = dx_shape_count(s);
  dx_attention_acts a = *acts;

  if (l->recompute) place_qkvo(s, p->work, &a);
  const work t = take(l, s, p->work);
  const float *const in = l->groups ? t.n : x;
  if (l->groups) dx_norm_again(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, t.n);
  if (l->recompute) attend(l, p, s, in, &a);
  dx_conv_backward(&l->out, p, s, a.o, gy, t.go, NULL);
  heads_backward(l, p, s, &a, &t);
  dx_conv_backward(&l->q, p, s, in, t.gq, t.gn, NULL);
  dx_conv_backward(&l->k, p, s, in, t.gk, t.more, NULL);
  p->kernel->add(all, t.gn, t.more, t.gn);
  dx_conv_backward(&l->v, p, s, in, t.gv, t.more, NULL);
  p->kernel->add(all, t.gn, t.more, t.gn);
  if (l->groups) {
    dx_norm_backward(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, t.gn, gy,
                     (dx_beside_out){.a = gx, .add_a = add}, NULL);
  } else {
    if (add) p->kernel->add(all, t.gn, gx, t.gn);
    p->kernel->add(all, t.gn, gy, gx);
  }
  dx_arena_release(p->work, mark);
}
