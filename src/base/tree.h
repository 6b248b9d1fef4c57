/* SPDX-License-Identifier: Apache-2.0 */
/* base/tree.h - the one binary tree in which everything is summed.

   Leaves 0..count-1 stand in order under a perfect binary tree. A node is the
   sum of its two children; where the right child has no leaf below it, the node
   IS its left child: an absent leaf is skipped, never added as zero. So the value
   of the root depends on the leaves alone, not on who summed which part. */
#ifndef DX_BASE_TREE_H
#define DX_BASE_TREE_H
#include <stdbool.h>
#include <stdint.h>

/* The node over leaves first .. first + 2^level - 1 (those that exist). */
typedef struct { int64_t first; int level; } dx_node;

/* Most pieces that a contiguous range of leaves can fall into. */
enum { DX_TREE_PIECES = 128 };

/* Leaf i, lifted to the highest node that holds nothing else. */
dx_node dx_tree_leaf(int64_t count, int64_t i);
/* If a and b are the two children of one node: true, and *parent is that node, lifted. */
bool dx_tree_join(int64_t count, dx_node a, dx_node b, dx_node *parent);
/* The maximal nodes that cover leaves [first, last) of count; returns how many (0 for an
   empty range). What a holder of these leaves can sum without the others. */
int dx_tree_cover(int64_t count, int64_t first, int64_t last, dx_node nodes[DX_TREE_PIECES]);
/* The root's value of count doubles, in the order of the tree; x is overwritten. */
double dx_tree_sum(int64_t count, double *x);
#endif
