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

void dx_attention_pack(const dx_attention *l, const dx_pass *p, dx_pass_kind kind, float *packed)
{
  dx_conv_pack(&l->q, p, kind, packed);
  dx_conv_pack(&l->k, p, kind, packed);
  dx_conv_pack(&l->v, p, kind, packed);
  dx_conv_pack(&l->out, p, kind, packed);
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

/* What a member of the crew needs for a head: q of a block, scaled; k turned (d,n); a block of P; in backward v turned
   and the gradient of a block of P. */
typedef struct { float *q, *k, *p, *v, *gp; } one_head;

static int64_t head_floats(const dx_attention *l, int64_t n, bool backward)
{
  const int64_t d = l->channels / l->heads, forward = rows_of(n) * d + d * n + rows_of(n) * n;

  return backward ? forward + n * d + rows_of(n) * n : forward;
}

/* Each member's. */
static float *take_heads(const dx_attention *l, dx_shape s, bool backward, dx_arena *a)
{
  return dx_arena_floats_each(a, head_floats(l, s.h * s.w, backward));
}

static one_head head_of(const dx_attention *l, int64_t n, bool backward, float *all, int member)
{
  const int64_t d = l->channels / l->heads;
  float *const q = dx_arena_of(all, head_floats(l, n, backward), member), *const k = q + rows_of(n) * d, *const p = k + d * n;

  return (one_head){.q = q, .k = k, .p = p, .v = p + rows_of(n) * n, .gp = p + rows_of(n) * n + n * d};
}

/* Scratch of backward: of heads; gradients of o, q, k, v; n, gn and one more sum. */
typedef struct { float *heads, *n, *go, *gq, *gk, *gv, *gn, *more; } work;

static float *take_norm(const dx_attention *l, dx_shape s, dx_arena *a)
{
  return l->groups ? dx_arena_floats(a, dx_shape_count(s)) : NULL;
}

static work take(const dx_attention *l, dx_shape s, dx_arena *a)
{
  const int64_t all = dx_shape_count(s);
  work t;

  t.heads = take_heads(l, s, true, a);
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
    if (l->groups) dx_norm_work(&l->norm, s.b, a);
  }
  take_heads(l, s, false, forward);
  if (l->recompute) take_heads(l, s, false, backward);
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

/* All heads, as jobs for the crew see them. */
typedef struct {
  const dx_attention *l;
  const dx_kernels *kernel;
  dx_shape s;
  const dx_attention_acts *acts;
  float *heads;  /* scratch */
  const work *t; /* backward's */
} heads;

enum { QUERIES = 32 }; /* that a member has at the least */

/* Queries [i, end) of a head, whose keys are turned. */
static void attend_queries(const heads *q, int64_t head, int64_t i, int64_t end, const one_head *t)
{
  const int64_t n = q->s.h * q->s.w, c = q->l->channels, d = c / q->l->heads, rows = rows_of(n);

  for (; i < end; i += rows) {
    const int64_t at = head + i * c, m = i + rows < end ? rows : end - i;

    weights(q->l, q->kernel, m, n, q->acts->q + at, t);
    q->kernel->gemm(m, d, n, t->p, n, 1, q->acts->v + head, c, q->acts->o + at, c, NULL, DX_GEMM_SET);
  }
}

/* Where head number `head` of all examples begins. */
static int64_t begin_of(const heads *q, int64_t head)
{
  const int64_t c = q->l->channels;

  return head / q->l->heads * q->s.h * q->s.w * c + head % q->l->heads * (c / q->l->heads);
}

/* Some QUERIES of all heads of all examples. */
static void attend_heads(const void *heads_, int64_t from, int64_t to, int member)
{
  const heads *const q = heads_;
  const int64_t n = q->s.h * q->s.w, each = (n + QUERIES - 1) / QUERIES;
  const one_head t = head_of(q->l, n, false, q->heads, member);

  while (from < to) {
    const int64_t number = from / each, first = from - number * each, stop = to < (number + 1) * each ? to : (number + 1) * each;
    const int64_t last = stop - number * each, head = begin_of(q, number);

    turn(q->l, q->kernel, n, q->acts->k + head, t.k);
    attend_queries(q, head, first * QUERIES, last * QUERIES < n ? last * QUERIES : n, &t);
    from = stop;
  }
}

/* q, k, v from the input of their projections, and o. */
static void attend(const dx_attention *l, const dx_pass *p, dx_shape s, const float *in, const dx_attention_acts *acts)
{
  const size_t mark = dx_arena_mark(p->work);

  dx_conv_forward(&l->q, p, s, in, (dx_conv_base){0}, acts->q);
  dx_conv_forward(&l->k, p, s, in, (dx_conv_base){0}, acts->k);
  dx_conv_forward(&l->v, p, s, in, (dx_conv_base){0}, acts->v);
  const heads q = {.l = l, .kernel = p->kernel, .s = s, .acts = acts, .heads = take_heads(l, s, false, p->work)};
  const double begin = dx_profile_begin(p->profile);
  dx_crew_do(p->crew, s.b * l->heads * ((s.h * s.w + QUERIES - 1) / QUERIES), attend_heads, &q);
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

/* One block of queries of the head that begins at `head`, `at` floats into all. sum: SET where the block is the head's
   first, else ADD. */
static void block_backward(const heads *q, int64_t rows, int64_t at, int64_t head, const one_head *o, dx_gemm_mode sum)
{
  const int64_t n = q->s.h * q->s.w, c = q->l->channels, d = c / q->l->heads;
  const float scale = (float)(1 / sqrt((double)d));
  const dx_kernels *const kernel = q->kernel;
  const float *const go = q->t->go + at;
  float *const gq = q->t->gq + at;

  weights(q->l, kernel, rows, n, q->acts->q + at, o);
  kernel->gemm(n, d, rows, o->p, 1, n, go, c, q->t->gv + head, c, NULL, sum);
  kernel->gemm(rows, n, d, go, c, 1, o->v, n, o->gp, n, NULL, DX_GEMM_SET);
  kernel->softmax_backward(rows, n, o->p, n, o->gp, n);
  kernel->gemm(rows, d, n, o->gp, n, 1, q->acts->k + head, c, gq, c, NULL, DX_GEMM_SET);
  for (int64_t i = 0; i < rows; i++) kernel->mix(d, scale, gq + i * c, 0, gq + i * c, gq + i * c);
  kernel->gemm(n, d, rows, o->gp, 1, n, o->q, d, q->t->gk + head, c, NULL, sum);
}

static void heads_backward(const void *heads_, int64_t from, int64_t to, int member)
{
  const heads *const q = heads_;
  const int64_t n = q->s.h * q->s.w, rows = rows_of(n);
  const one_head o = head_of(q->l, n, true, q->heads, member);

  for (int64_t i = from; i < to; i++) {
    const int64_t head = begin_of(q, i);

    turn(q->l, q->kernel, n, q->acts->k + head, o.k);
    turn(q->l, q->kernel, n, q->acts->v + head, o.v);
    for (int64_t j = 0; j < n; j += rows)
      block_backward(q, j + rows < n ? rows : n - j, head + j * q->l->channels, head, &o, j ? DX_GEMM_ADD : DX_GEMM_SET);
  }
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
  const heads q = {.l = l, .kernel = p->kernel, .s = s, .acts = &a, .heads = t.heads, .t = &t};
  const double begin = dx_profile_begin(p->profile);
  dx_crew_do(p->crew, s.b * l->heads, heads_backward, &q);
  tell(l, p, s, 5, true, begin);
  dx_conv_backward(&l->q, p, s, in, t.gq, t.gn, NULL);
  dx_conv_backward(&l->k, p, s, in, t.gk, t.more, NULL);
  dx_add(p, all, t.gn, t.more, t.gn);
  dx_conv_backward(&l->v, p, s, in, t.gv, t.more, NULL);
  dx_add(p, all, t.gn, t.more, t.gn);
  if (l->groups) {
    dx_norm_backward(&l->norm, p, s, (dx_beside){.a = x}, (dx_norm_with){0}, acts->stats, t.gn, gy,
                     (dx_beside_out){.a = gx, .add_a = add}, NULL);
  } else {
    if (add) dx_add(p, all, t.gn, gx, t.gn);
    dx_add(p, all, t.gn, gy, gx);
  }
  dx_arena_release(p->work, mark);
}
