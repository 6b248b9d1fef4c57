/* SPDX-License-Identifier: Apache-2.0 */
/* comm/reduce.c - see reduce.h. All buffers and messages are planned at creation:
   which subtrees a thread, a rank and the job end with depends on G and the
   number of workers alone. */
#include "comm/reduce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A subtree's sum and where it stands. */
typedef struct { dx_node node; float *sum; } piece;

/* The subtrees of one thread: a stack that folds as it grows. */
typedef struct {
  piece stack[DX_TREE_PIECES];
  float *buffer[DX_TREE_PIECES]; /* buffer[d] belongs to stack place d */
  int depth, buffers;
} folder;

/* One addition of the finishing stage: buffer a += buffer b, over a slice. */
typedef struct { int a, b; } addition;

struct dx_reduce {
  const dx_comm *comm;
  dx_add_fn add;
  int64_t leaves, floats;
  int folders, threads, rank, size;
  folder *fold;                  /* (folders) */
  piece *mine;                   /* this rank's subtrees in order */
  int pieces;
  addition *local, *global;      /* joins among the folders' subtrees; among all ranks' */
  int locals, globals;
  float **all;                   /* all ranks' subtrees in order: my slice of each */
  int alls;
  int *first_piece;              /* (size + 1): in all, of each rank */
  float *received;
  dx_slice *send, *receive;
  int sends, receives;
  void *requests;
  int64_t *first_leaf;           /* (size + 1) */
};

void dx_reduce_slice(const dx_reduce *r, int rank, int64_t *at, int64_t *n)
{
  const int64_t blocks = dx_blocks(r->floats);
  const int64_t first = dx_share_first(blocks, r->size, rank) * DX_BLOCK;
  const int64_t last = dx_share_first(blocks, r->size, rank + 1) * DX_BLOCK;

  *at = first < r->floats ? first : r->floats;
  *n = (last < r->floats ? last : r->floats) - *at;
}

void dx_reduce_range(const dx_reduce *r, int of, int64_t *first, int64_t *last)
{
  const int64_t base = r->first_leaf[r->rank], n = r->first_leaf[r->rank + 1] - base;

  *first = base + dx_share_first(n, r->folders, of);
  *last = base + dx_share_first(n, r->folders, of + 1);
}

/* Join neighbours among n nodes until none are siblings; the additions that this takes, by the
   nodes' first places. Returns how many; *rest: how many nodes stay, their places in kept. */
static int plan_joins(int64_t leaves, const dx_node *nodes, int n, addition *adds, int *kept, int *rest)
{
  dx_node *stack = malloc((size_t)(n + 1) * sizeof *stack);
  int depth = 0, count = 0;

  *rest = -1;
  if (!stack) return 0;
  for (int i = 0; i < n; i++) {
    stack[depth] = nodes[i];
    kept[depth++] = i;
    while (depth > 1 && dx_tree_join(leaves, stack[depth - 2], stack[depth - 1], &stack[depth - 2])) {
      adds[count++] = (addition){kept[depth - 2], kept[depth - 1]};
      depth--;
    }
  }
  free(stack);
  *rest = depth;
  return count;
}

/* As high as the thread's stack of subtrees grows. */
int dx_reduce_buffers(int64_t leaves, int64_t first, int64_t last)
{
  dx_node s[DX_TREE_PIECES];
  int depth = 0, most = 0;

  for (int64_t i = first; i < last; i++) {
    s[depth++] = dx_tree_leaf(leaves, i);
    if (depth > most) most = depth;
    while (depth > 1 && dx_tree_join(leaves, s[depth - 2], s[depth - 1], &s[depth - 2])) depth--;
  }
  return most;
}

void dx_reduce_rest(dx_reduce *r)
{
  for (int t = 0; t < r->folders; t++)
    for (int b = 0; b < r->fold[t].buffers; b++) dx_memory_give_back(r->fold[t].buffer[b], (size_t)r->floats * sizeof(float));
}

static float *vector(int64_t n)
{
  return dx_memory((size_t)n * sizeof(float));
}

static dx_error *no_memory(const dx_reduce *r)
{
  return DX_FAIL(INTERNAL, "no memory for the gradient sums of %lld grains and %lld parameters",
                 (long long)r->leaves, (long long)r->floats);
}

static dx_error *plan_folders(dx_reduce *r)
{
  dx_node *nodes = malloc((size_t)r->folders * DX_TREE_PIECES * sizeof *nodes);
  int *kept = malloc((size_t)r->folders * DX_TREE_PIECES * sizeof *kept), n = 0, rest = -1;

  r->fold = calloc((size_t)r->folders, sizeof *r->fold);
  r->local = malloc((size_t)r->folders * DX_TREE_PIECES * sizeof *r->local);
  r->mine = malloc((size_t)r->folders * DX_TREE_PIECES * sizeof *r->mine);
  if (!nodes || !kept || !r->fold || !r->local || !r->mine) goto out;
  for (int t = 0; t < r->folders; t++) {
    int64_t first, last;
    dx_node own[DX_TREE_PIECES];

    dx_reduce_range(r, t, &first, &last);
    r->fold[t].buffers = dx_reduce_buffers(r->leaves, first, last);
    for (int b = 0; b < r->fold[t].buffers; b++)
      if (!(r->fold[t].buffer[b] = vector(r->floats))) goto out;
    const int cover = dx_tree_cover(r->leaves, first, last, own);
    for (int i = 0; i < cover; i++) {
      r->mine[n].sum = r->fold[t].buffer[i]; /* where the stack will leave it */
      nodes[n++] = own[i];
    }
  }
  r->locals = plan_joins(r->leaves, nodes, n, r->local, kept, &rest);
out:
  free(nodes);
  free(kept);
  return rest < 0 ? no_memory(r) : NULL;
}

/* After the local joins: which of mine are left, and what every rank is left with. */
static dx_error *plan_ranks(dx_reduce *r)
{
  dx_node *nodes = malloc((size_t)r->size * DX_TREE_PIECES * sizeof *nodes);
  int *kept = malloc((size_t)r->size * DX_TREE_PIECES * sizeof *kept), n = 0, rest = -1;

  r->first_piece = malloc((size_t)(r->size + 1) * sizeof *r->first_piece);
  r->global = malloc((size_t)r->size * DX_TREE_PIECES * sizeof *r->global);
  if (!nodes || !kept || !r->first_piece || !r->global) goto out;
  for (int rank = 0; rank < r->size; rank++) {
    r->first_piece[rank] = n;
    n += dx_tree_cover(r->leaves, r->first_leaf[rank], r->first_leaf[rank + 1], nodes + n);
  }
  r->first_piece[r->size] = r->alls = n;
  r->globals = plan_joins(r->leaves, nodes, n, r->global, kept, &rest);
  assert(rest == 1);
out:
  free(nodes);
  free(kept);
  return rest < 0 ? no_memory(r) : NULL;
}

/* Which of the folders' subtrees survive the local joins, in order. */
static int survivors(const dx_reduce *r, int *place)
{
  int total = 0, n = 0;

  for (int t = 0; t < r->folders; t++) {
    int64_t first, last;
    dx_node own[DX_TREE_PIECES];

    dx_reduce_range(r, t, &first, &last);
    total += dx_tree_cover(r->leaves, first, last, own);
  }
  for (int i = 0; i < total; i++) {
    bool gone = false;

    for (int j = 0; j < r->locals; j++) gone = gone || r->local[j].b == i;
    if (!gone) place[n++] = i;
  }
  return n;
}

static dx_error *plan_messages(dx_reduce *r)
{
  int64_t at, n;
  int place[DX_TREE_PIECES];

  r->pieces = survivors(r, place);
  assert(r->pieces == r->first_piece[r->rank + 1] - r->first_piece[r->rank]);
  dx_reduce_slice(r, r->rank, &at, &n);
  r->all = calloc((size_t)r->alls, sizeof *r->all);
  r->received = vector((int64_t)(r->alls - r->pieces) * n);
  r->send = calloc((size_t)(r->pieces * r->size + 1), sizeof *r->send);
  r->receive = calloc((size_t)(r->alls + 1), sizeof *r->receive);
  r->requests = calloc((size_t)(r->pieces * r->size + r->alls + 1), dx_comm_request_size());
  if (!r->all || !r->received || !r->send || !r->receive || !r->requests) return no_memory(r);
  float *free_room = r->received;
  for (int rank = 0; rank < r->size; rank++)
    for (int i = r->first_piece[rank]; i < r->first_piece[rank + 1]; i++) {
      const int tag = i - r->first_piece[rank];

      if (rank == r->rank) {
        r->all[i] = r->mine[place[tag]].sum + at;
        continue;
      }
      r->all[i] = free_room;
      free_room += n;
      if (n) r->receive[r->receives++] = (dx_slice){r->all[i], n, rank, tag};
    }
  for (int rank = 0; rank < r->size; rank++) {
    int64_t to, count;

    dx_reduce_slice(r, rank, &to, &count);
    for (int i = 0; i < r->pieces && rank != r->rank && count; i++)
      r->send[r->sends++] = (dx_slice){r->mine[place[i]].sum + to, count, rank, i};
  }
  return NULL;
}

dx_error *dx_reduce_create(const dx_comm *c, const dx_reduce_plan *p, dx_add_fn add, dx_reduce **out)
{
  dx_reduce *r = calloc(1, sizeof *r);
  const size_t ranks = (size_t)dx_comm_size(c);
  dx_error *err = NULL;

  if (!r) {
    err = DX_FAIL(INTERNAL, "no memory for the gradient sums");
    goto out;
  }
  *r = (dx_reduce){.comm = c, .add = add, .leaves = p->leaves, .floats = p->floats,
                   .folders = p->folders, .threads = p->threads,
                   .rank = dx_comm_rank(c), .size = dx_comm_size(c)};
  r->first_leaf = malloc((ranks + 1) * sizeof *r->first_leaf);
  if (!r->first_leaf) {
    err = no_memory(r);
    goto out;
  }
  memcpy(r->first_leaf, p->first_rank_leaf, (ranks + 1) * sizeof *r->first_leaf);
  DX_TRY_GOTO(err, out, plan_folders(r));
  DX_TRY_GOTO(err, out, plan_ranks(r));
  DX_TRY_GOTO(err, out, plan_messages(r));
out:
  err = dx_comm_agree(c, err);
  if (err) dx_reduce_destroy(r);
  else *out = r;
  return err;
}

void dx_reduce_destroy(dx_reduce *r)
{
  if (!r) return;
  for (int t = 0; r->fold && t < r->folders; t++)
    for (int b = 0; b < r->fold[t].buffers; b++) free(r->fold[t].buffer[b]);
  free(r->fold);
  free(r->mine);
  free(r->local);
  free(r->global);
  free(r->all);
  free(r->first_piece);
  free(r->received);
  free(r->send);
  free(r->receive);
  free(r->requests);
  free(r->first_leaf);
  free(r);
}

float *dx_reduce_leaf(dx_reduce *r, int thread)
{
  folder *const f = &r->fold[thread];

  assert(f->depth < f->buffers);
  memset(f->buffer[f->depth], 0, (size_t)r->floats * sizeof(float));
  return f->buffer[f->depth];
}

void dx_reduce_done(dx_reduce *r, int thread, int64_t leaf)
{
  folder *const f = &r->fold[thread];

  f->stack[f->depth] = (piece){dx_tree_leaf(r->leaves, leaf), f->buffer[f->depth]};
  f->depth++;
  while (f->depth > 1) {
    piece *const a = &f->stack[f->depth - 2], *const b = a + 1;

    if (!dx_tree_join(r->leaves, a->node, b->node, &a->node)) return;
    r->add(r->floats, a->sum, b->sum, a->sum);
    f->depth--;
  }
}

/* All additions over [at, at + n), in order. */
static void join(const dx_reduce *r, const addition *adds, int count, float *const *sum, int64_t at, int64_t n)
{
  for (int i = 0; i < count; i++)
    r->add(n, sum[adds[i].a] + at, sum[adds[i].b] + at, sum[adds[i].a] + at);
}

static void join_mine(const dx_reduce *r, int64_t at, int64_t n)
{
  for (int i = 0; i < r->locals; i++) {
    float *const a = r->mine[r->local[i].a].sum + at;

    r->add(n, a, r->mine[r->local[i].b].sum + at, a);
  }
}

void dx_reduce_finish(dx_reduce *r, const float **slice, int64_t *at, int64_t *n)
{
  for (int t = 0; t < r->folders; t++) r->fold[t].depth = 0;
  dx_reduce_slice(r, r->rank, at, n);
  if (r->locals) {
    const int64_t blocks = dx_blocks(r->floats);

#pragma omp parallel for num_threads(r->threads) schedule(static) if (blocks >= DX_BLOCKS_WORTH_THREADS)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t from = b * DX_BLOCK, left = r->floats - from;

      join_mine(r, from, left < DX_BLOCK ? left : DX_BLOCK);
    }
  }
  if (r->size > 1) dx_comm_slices(r->comm, r->send, r->sends, r->receive, r->receives, r->requests);
  if (r->globals) {
    const int64_t count = *n, blocks = dx_blocks(count);

#pragma omp parallel for num_threads(r->threads) schedule(static) if (blocks >= DX_BLOCKS_WORTH_THREADS)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t from = b * DX_BLOCK, left = count - from;

      join(r, r->global, r->globals, r->all, from, left < DX_BLOCK ? left : DX_BLOCK);
    }
  }
  *slice = r->all[0];
}
