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
  float **vector;              /* (vectors) one for each place of the stack */
  int depth, vectors;
} folder;

/* One addition of the finishing stage: vector a += vector b, over a slice. */
typedef struct { int a, b; } addition;

/* What a rank of this node holds: how many vectors, and which of them end as its subtrees, in order. */
typedef struct { int vectors, pieces, piece[DX_TREE_PIECES]; } holding;

struct dx_reduce {
  const dx_comm *comm;
  dx_add_fn add;
  int64_t leaves, floats;
  int folders, threads, rank, size;
  folder *fold;                  /* (folders) */
  holding mine, *node;           /* this rank's; (ranks of the node) */
  float **vector;                /* (mine.vectors) */
  float *area;                   /* all vectors of the node's ranks, rank after rank; NULL: each rank has its own */
  size_t area_bytes;
  bool at_rest;                  /* the system has my vectors: not asked for yet, or given back */
  addition *local, *global;      /* joins among the folders' subtrees, by vectors; among all ranks' */
  int locals, globals;
  float **all;                   /* all ranks' subtrees in order: my slice of each */
  int alls;
  int *first_piece;              /* (size + 1): in all, of each rank */
  float *received;
  dx_slice *send, *receive;
  int sends, receives;
  dx_slice *spread_to, *spread_from; /* slices of a node's vector; floats: not set */
  int spreads_to, spreads_from;
  void *requests, *spread_requests;
  int64_t *first_leaf;           /* (size + 1) */
  int64_t *count, *offset;       /* (size) every rank's slice */
  int *place, *node_ranks;       /* (size) of each rank on its node; how many ranks has the node that a rank leads */
};

void dx_reduce_slice(const dx_reduce *r, int rank, int64_t *at, int64_t *n)
{
  *at = r->offset[rank];
  *n = r->count[rank];
}

/* Where a rank's slice begins: with a block. */
static int64_t slice_first(const dx_reduce *r, int rank)
{
  const int64_t first = dx_share_first(dx_blocks(r->floats), r->size, rank) * DX_BLOCK;

  return first < r->floats ? first : r->floats;
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

static int64_t row(const dx_reduce *r) { return dx_reduce_row(r->floats); }

void dx_reduce_rest(dx_reduce *r)
{
  const size_t bytes = (size_t)row(r) * sizeof(float);

  if (r->area) dx_comm_node_barrier(r->comm); /* nobody reads them any more */
  for (int i = 0; i < r->mine.vectors; i++) {
    if (r->area) dx_comm_node_memory_rest(r->vector[i], bytes);
    else dx_memory_give_back(r->vector[i], bytes);
  }
  r->at_rest = true;
}

static float *own(int64_t floats) { return dx_memory((size_t)floats * sizeof(float)); }

static dx_error *no_memory(const dx_reduce *r)
{
  return DX_FAIL(INTERNAL, "no memory for the gradient sums of %lld grains and %lld parameters",
                 (long long)r->leaves, (long long)r->floats);
}

static dx_error *plan_folders(dx_reduce *r)
{
  const size_t most = (size_t)r->folders * DX_TREE_PIECES;
  dx_node *nodes = malloc(most * sizeof *nodes);
  int *kept = malloc(most * sizeof *kept), *at = malloc(most * sizeof *at), n = 0, rest = -1;

  r->fold = calloc((size_t)r->folders, sizeof *r->fold);
  r->local = malloc(most * sizeof *r->local);
  if (!nodes || !kept || !at || !r->fold || !r->local) goto out;
  for (int t = 0; t < r->folders; t++) {
    int64_t first, last;
    dx_node theirs[DX_TREE_PIECES];

    dx_reduce_range(r, t, &first, &last);
    const int cover = dx_tree_cover(r->leaves, first, last, theirs);
    for (int i = 0; i < cover; i++) {
      at[n] = r->mine.vectors + i; /* where the stack will leave it */
      nodes[n++] = theirs[i];
    }
    r->fold[t].vectors = dx_reduce_buffers(r->leaves, first, last);
    r->mine.vectors += r->fold[t].vectors;
  }
  r->locals = plan_joins(r->leaves, nodes, n, r->local, kept, &rest);
  for (int i = 0; i < r->locals; i++) r->local[i] = (addition){at[r->local[i].a], at[r->local[i].b]};
  for (int i = 0; i < rest; i++) r->mine.piece[r->mine.pieces++] = at[kept[i]];
out:
  free(nodes);
  free(kept);
  free(at);
  return rest < 0 ? no_memory(r) : NULL;
}

/* Vectors for all ranks of the node where all of them can read, or NULL.  Collective */
static void share_area(dx_reduce *r)
{
  int64_t vectors = 0;

  dx_comm_node_gather(r->comm, &r->mine, sizeof r->mine, r->node);
  for (int i = 0; i < dx_comm_node_size(r->comm); i++) vectors += r->node[i].vectors;
  r->area_bytes = (size_t)(vectors * row(r)) * sizeof(float);
  r->area = dx_reduce_shares(r->floats) ? dx_comm_node_memory(r->comm, r->area_bytes) : NULL;
}

/* The first vector of a rank of this node in its area. */
static float *vectors_of(const dx_reduce *r, int node_rank)
{
  float *at = r->area;

  for (int i = 0; i < node_rank; i++) at += r->node[i].vectors * row(r);
  return at;
}

static dx_error *place_vectors(dx_reduce *r)
{
  r->vector = calloc((size_t)r->mine.vectors + 1, sizeof *r->vector);
  if (!r->vector) return no_memory(r);
  for (int i = 0; i < r->mine.vectors; i++) {
    r->vector[i] = r->area ? vectors_of(r, r->place[r->rank]) + i * row(r) : own(row(r));
    if (!r->vector[i]) return no_memory(r);
  }
  for (int t = 0, at = 0; t < r->folders; at += r->fold[t++].vectors) r->fold[t].vector = r->vector + at;
  return NULL;
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

/* A rank whose subtrees I read where they stand. */
static bool in_reach(const dx_reduce *r, int rank)
{
  return rank == r->rank || (r->area && dx_comm_leader(r->comm, rank) == dx_comm_leader(r->comm, r->rank));
}

/* Subtree i of such a rank. */
static float *piece_of(const dx_reduce *r, int rank, int i)
{
  if (rank == r->rank) return r->vector[r->mine.piece[i]];
  return vectors_of(r, r->place[rank]) + r->node[r->place[rank]].piece[i] * row(r);
}

static dx_error *plan_messages(dx_reduce *r)
{
  const int64_t at = r->offset[r->rank], n = r->count[r->rank];
  int64_t theirs = 0;

  assert(r->mine.pieces == r->first_piece[r->rank + 1] - r->first_piece[r->rank]);
  for (int rank = 0; rank < r->size; rank++)
    if (!in_reach(r, rank)) theirs += r->first_piece[rank + 1] - r->first_piece[rank];
  r->all = calloc((size_t)r->alls, sizeof *r->all);
  r->received = own(theirs * n);
  r->send = calloc((size_t)(r->mine.pieces * r->size + 1), sizeof *r->send);
  r->receive = calloc((size_t)(r->alls + 1), sizeof *r->receive);
  r->requests = calloc((size_t)(r->mine.pieces * r->size + r->alls + 1), dx_comm_request_size());
  if (!r->all || !r->received || !r->send || !r->receive || !r->requests) return no_memory(r);
  float *free_room = r->received;
  for (int rank = 0; rank < r->size; rank++) {
    const bool near = in_reach(r, rank);

    for (int i = r->first_piece[rank]; i < r->first_piece[rank + 1]; i++) {
      const int tag = i - r->first_piece[rank];

      r->all[i] = near ? piece_of(r, rank, tag) + at : free_room;
      if (near) continue;
      free_room += n;
      if (n) r->receive[r->receives++] = (dx_slice){r->all[i], n, rank, tag};
    }
  }
  for (int rank = 0; rank < r->size; rank++) {
    if (in_reach(r, rank)) continue;
    for (int i = 0; i < r->mine.pieces && r->count[rank]; i++)
      r->send[r->sends++] = (dx_slice){r->vector[r->mine.piece[i]] + r->offset[rank], r->count[rank], rank, i};
  }
  return NULL;
}

/* Who sends slices of a node's vector to whom: a slice comes to one rank of each other node, in turn. */
static dx_error *plan_spread(dx_reduce *r)
{
  const int here = dx_comm_leader(r->comm, r->rank);

  r->spread_to = calloc((size_t)r->size, sizeof *r->spread_to);
  r->spread_from = calloc((size_t)r->size, sizeof *r->spread_from);
  r->spread_requests = calloc(2 * (size_t)r->size, dx_comm_request_size());
  if (!r->spread_to || !r->spread_from || !r->spread_requests) return no_memory(r);
  for (int i = 0; i < r->size; i++) {
    const int there = dx_comm_leader(r->comm, i);

    if (there == here) continue;
    if (r->rank % r->node_ranks[there] == r->place[i] && r->count[r->rank])
      r->spread_to[r->spreads_to++] = (dx_slice){.count = r->count[r->rank], .rank = i};
    if (i % r->node_ranks[here] == r->place[r->rank] && r->count[i])
      r->spread_from[r->spreads_from++] = (dx_slice){.count = r->count[i], .rank = i};
  }
  return NULL;
}

static dx_error *plan_ours(dx_reduce *r, const int64_t *first_leaf)
{
  const size_t ranks = (size_t)r->size;

  r->first_leaf = malloc((ranks + 1) * sizeof *r->first_leaf);
  r->count = malloc(ranks * sizeof *r->count);
  r->offset = malloc(ranks * sizeof *r->offset);
  r->node = calloc((size_t)dx_comm_node_size(r->comm), sizeof *r->node);
  r->place = malloc(ranks * sizeof *r->place);
  r->node_ranks = calloc(ranks, sizeof *r->node_ranks);
  if (!r->first_leaf || !r->count || !r->offset || !r->node || !r->place || !r->node_ranks) return no_memory(r);
  memcpy(r->first_leaf, first_leaf, (ranks + 1) * sizeof *r->first_leaf);
  for (int i = 0; i < r->size; i++) {
    r->offset[i] = slice_first(r, i);
    r->count[i] = slice_first(r, i + 1) - r->offset[i];
    r->place[i] = r->node_ranks[dx_comm_leader(r->comm, i)]++;
  }
  return plan_folders(r);
}

static dx_error *plan_all(dx_reduce *r)
{
  DX_TRY(place_vectors(r));
  DX_TRY(plan_ranks(r));
  DX_TRY(plan_messages(r));
  return plan_spread(r);
}

dx_error *dx_reduce_create(const dx_comm *c, const dx_reduce_plan *p, dx_add_fn add, dx_reduce **out)
{
  dx_reduce *r = calloc(1, sizeof *r);
  dx_error *err = NULL;

  if (r) {
    *r = (dx_reduce){.comm = c, .add = add, .leaves = p->leaves, .floats = p->floats,
                     .folders = p->folders, .threads = p->threads,
                     .rank = dx_comm_rank(c), .size = dx_comm_size(c), .at_rest = true};
    err = plan_ours(r, p->first_rank_leaf);
  } else {
    err = DX_FAIL(INTERNAL, "no memory for the gradient sums");
  }
  DX_TRY_GOTO(err, out, dx_comm_agree(c, err));
  share_area(r);
  err = dx_comm_agree(c, plan_all(r));
out:
  if (err) dx_reduce_destroy(r);
  else *out = r;
  return err;
}

void dx_reduce_destroy(dx_reduce *r)
{
  if (!r) return;
  for (int i = 0; r->vector && i < r->mine.vectors && !r->area; i++) free(r->vector[i]);
  if (r->area) dx_comm_node_memory_free(r->area, r->area_bytes);
  free(r->vector);
  free(r->fold);
  free(r->node);
  free(r->local);
  free(r->global);
  free(r->all);
  free(r->first_piece);
  free(r->received);
  free(r->send);
  free(r->receive);
  free(r->requests);
  free(r->spread_to);
  free(r->spread_from);
  free(r->spread_requests);
  free(r->first_leaf);
  free(r->count);
  free(r->offset);
  free(r->place);
  free(r->node_ranks);
  free(r);
}

void dx_reduce_start(dx_reduce *r)
{
  if (r->area && r->at_rest) /* vectors of a rank follow each other */
    dx_comm_node_memory_take(vectors_of(r, r->place[r->rank]), (size_t)(r->mine.vectors * row(r)) * sizeof(float));
  r->at_rest = false;
  if (r->area) dx_comm_node_barrier(r->comm); /* slices that others use may stand in our vectors */
}

float *dx_reduce_leaf(dx_reduce *r, int thread)
{
  folder *const f = &r->fold[thread];

  assert(f->depth < f->vectors);
  memset(f->vector[f->depth], 0, (size_t)r->floats * sizeof(float));
  return f->vector[f->depth];
}

void dx_reduce_done(dx_reduce *r, int thread, int64_t leaf)
{
  folder *const f = &r->fold[thread];

  f->stack[f->depth] = (piece){dx_tree_leaf(r->leaves, leaf), f->vector[f->depth]};
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

/* The same over n floats, block by block, by all threads. */
static void join_blocks(const dx_reduce *r, const addition *adds, int count, float *const *sum, int64_t n)
{
  const int64_t blocks = count ? dx_blocks(n) : 0;

#pragma omp parallel for num_threads(r->threads) schedule(static) if (blocks >= DX_BLOCKS_WORTH_THREADS)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t from = b * DX_BLOCK, left = n - from;

    join(r, adds, count, sum, from, left < DX_BLOCK ? left : DX_BLOCK);
  }
}

void dx_reduce_finish(dx_reduce *r, const float **slice, int64_t *at, int64_t *n)
{
  for (int t = 0; t < r->folders; t++) r->fold[t].depth = 0;
  dx_reduce_slice(r, r->rank, at, n);
  join_blocks(r, r->local, r->locals, r->vector, r->floats);
  if (r->area) dx_comm_node_barrier(r->comm); /* the subtrees of the node's ranks stand */
  if (r->sends || r->receives) dx_comm_slices(r->comm, r->send, r->sends, r->receive, r->receives, r->requests);
  join_blocks(r, r->global, r->globals, r->all, *n);
  *slice = r->all[0];
}

void dx_reduce_spread(dx_reduce *r, float *vector, bool of_node)
{
  if (!of_node) {
    dx_comm_all_gather(r->comm, vector + r->offset[r->rank], r->count[r->rank], vector, r->count, r->offset, sizeof *vector);
    return;
  }
  for (int i = 0; i < r->spreads_to; i++) r->spread_to[i].floats = vector + r->offset[r->rank];
  for (int i = 0; i < r->spreads_from; i++) r->spread_from[i].floats = vector + r->offset[r->spread_from[i].rank];
  if (r->spreads_to || r->spreads_from)
    dx_comm_slices(r->comm, r->spread_to, r->spreads_to, r->spread_from, r->spreads_from, r->spread_requests);
  dx_comm_node_barrier(r->comm); /* all slices of the node's ranks stand */
}
