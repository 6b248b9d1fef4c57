/* SPDX-License-Identifier: Apache-2.0 */
/* base/tree.c - see tree.h. */
#include "base/tree.h"

#include <assert.h>

static int64_t width(dx_node n) { return (int64_t)1 << n.level; }

/* While the node is a left child whose sibling is empty, it is also its parent. */
static dx_node lift(int64_t count, dx_node n)
{
  while ((n.first / width(n)) % 2 == 0 && n.first + width(n) >= count && width(n) < count) n.level++;
  return n;
}

dx_node dx_tree_leaf(int64_t count, int64_t i)
{
  assert(i >= 0 && i < count);
  return lift(count, (dx_node){.first = i, .level = 0});
}

bool dx_tree_join(int64_t count, dx_node a, dx_node b, dx_node *parent)
{
  if (a.level != b.level || b.first != a.first + width(a) || (a.first / width(a)) % 2) return false;
  *parent = lift(count, (dx_node){.first = a.first, .level = a.level + 1});
  return true;
}

int dx_tree_cover(int64_t count, int64_t first, int64_t last, dx_node nodes[DX_TREE_PIECES])
{
  int depth = 0;

  for (int64_t i = first; i < last; i++) {
    nodes[depth++] = dx_tree_leaf(count, i);
    while (depth > 1 && dx_tree_join(count, nodes[depth - 2], nodes[depth - 1], &nodes[depth - 2]))
      depth--;
  }
  return depth;
}

double dx_tree_sum(int64_t count, double *x)
{
  if (count == 0) return 0;
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t i = 0; i + step < count; i += 2 * step) x[i] += x[i + step];
  return x[0];
}
