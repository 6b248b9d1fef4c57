/* SPDX-License-Identifier: Apache-2.0 */
/* comm/reduce.h - the sum of all grains' gradients along the fixed tree.

   Leaves (grains) are spread contiguously over the workers (threads, or crews of
   threads, of all ranks); each folds its own into the maximal subtrees they cover,
   those of a rank join theirs, and the owners of the slices of a vector finish the tree
   (base/tree.h): they read the subtrees of their node's ranks where these stand, and are sent
   their slices of the others'. The result is a reduce-scatter whose
   bits depend on the leaves alone. */
#ifndef DX_COMM_REDUCE_H
#define DX_COMM_REDUCE_H
#include <stdbool.h>
#include "base/error.h"
#include "base/tree.h"
#include "comm/comm.h"

/* Slices begin at multiples of this many floats. */
enum { DX_BLOCK = 16384 };
/* A loop over fewer blocks is done before other threads have woken. */
enum { DX_BLOCKS_WORTH_THREADS = 16 };
static inline int64_t dx_blocks(int64_t floats) { return (floats + DX_BLOCK - 1) / DX_BLOCK; }
/* Whether ranks of a node hold vectors of that length where all of them can read, if the system can: else each its own,
   and a barrier costs more than a copy.  Local */
static inline bool dx_reduce_shares(int64_t floats) { return dx_blocks(floats) >= DX_BLOCKS_WORTH_THREADS; }
/* Floats that a vector takes: whole pages where it may be shared, so that each rank can give its own back.  Local */
static inline int64_t dx_reduce_row(int64_t floats) { return dx_reduce_shares(floats) ? dx_blocks(floats) * DX_BLOCK : floats; }

typedef struct dx_reduce dx_reduce;

/* The work of a step, cut. */
typedef struct {
  int64_t leaves;            /* G */
  int64_t floats;            /* length of a vector */
  int folders;               /* of this rank's threads, or crews of them: who have leaves */
  int threads;               /* of this rank: who sum up in the end */
  const int64_t *first_rank_leaf; /* (ranks + 1): rank r's leaves; copied */
} dx_reduce_plan;

typedef void (*dx_add_fn)(int64_t n, const float *a, const float *b, float *y);

dx_error *dx_reduce_create(const dx_comm *c, const dx_reduce_plan *plan, dx_add_fn add,
                           dx_reduce **out) DX_MUST_CHECK; /* Collective */
void dx_reduce_destroy(dx_reduce *r);                      /* Local; NULL is fine */

/* Gradient vectors that a worker with leaves [first, last) of `leaves` holds.  Local */
int dx_reduce_buffers(int64_t leaves, int64_t first, int64_t last);

/* A step begins: the last one's slice is gone.  Collective */
void dx_reduce_start(dx_reduce *r);
/* Leaf range of folder number `of` of this rank.  Local */
void dx_reduce_range(const dx_reduce *r, int of, int64_t *first, int64_t *last);
/* Called by each folder for its leaves in order: a zeroed vector for the leaf's gradient,
   then dx_reduce_done when it is filled.  Local */
float *dx_reduce_leaf(dx_reduce *r, int folder);
void dx_reduce_done(dx_reduce *r, int folder, int64_t leaf);
/* All leaves are done: sum them. This rank's slice of the result is at *slice, floats
   [*at, *at + *n) of the vector, valid until dx_reduce_start or dx_reduce_rest.  Collective */
void dx_reduce_finish(dx_reduce *r, const float **slice, int64_t *at, int64_t *n);
/* Give the memory of the gradient vectors back to the system until they are next asked for; what
   dx_reduce_finish gave is gone.  Collective */
void dx_reduce_rest(dx_reduce *r);
/* Each rank has set its slice of a vector; now it is whole. of_node, alike on all ranks: those of each node have given one
   vector, which they share (dx_comm_node_memory; a node of one rank: any), so that a slice comes to a node once.  Collective */
void dx_reduce_spread(dx_reduce *r, float *vector, bool of_node);
/* The slice that a rank owns.  Local */
void dx_reduce_slice(const dx_reduce *r, int rank, int64_t *at, int64_t *n);
#endif
