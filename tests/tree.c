/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed tree: the root is the same whoever sums which part. */
#include "base/tree.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>

enum { MOST = 41 };

/* The definition, literally: the sum over leaves [first, first + 2^level). */
static double by_definition(const double *x, int64_t count, int64_t first, int level)
{
  if (level == 0) return x[first];

  const int64_t half = (int64_t)1 << (level - 1);
  const double left = by_definition(x, count, first, level - 1);
  return first + half < count ? left + by_definition(x, count, first + half, level - 1) : left;
}

/* Cut the leaves at random places, sum each part into its pieces, then join the pieces. */
static double in_parts(const double *x, int64_t count, int parts)
{
  dx_node stack[DX_TREE_PIECES];
  double value[DX_TREE_PIECES];
  int64_t at = 0;
  int depth = 0;

  for (int p = 0; p < parts; p++) {
    const int64_t last = p == parts - 1 ? count : at + rand() % (count - at + 1);
    dx_node nodes[DX_TREE_PIECES];
    const int n = dx_tree_cover(count, at, last, nodes);

    for (int i = 0; i < n; i++) {
      stack[depth] = nodes[i];
      value[depth++] = by_definition(x, count, nodes[i].first, nodes[i].level);
      while (depth > 1 && dx_tree_join(count, stack[depth - 2], stack[depth - 1], &stack[depth - 2])) {
        value[depth - 2] += value[depth - 1];
        depth--;
      }
    }
    at = last;
  }
  return depth == 1 ? value[0] : NAN;
}

int main(void)
{
  double x[MOST], copy[MOST];
  int wrong = 0, wrong_sum = 0, order_matters = 0;

  srand(1);
  for (int64_t count = 1; count <= MOST; count++) {
    int level = 0;
    double plain = 0;

    while (((int64_t)1 << level) < count) level++;
    for (int i = 0; i < count; i++) copy[i] = x[i] = (double)rand() / 3e8 * (rand() % 2 ? 1 : 1e-9);
    for (int i = 0; i < count; i++) plain += x[i];
    const double root = by_definition(x, count, 0, level);
    wrong_sum += dx_tree_sum(count, copy) != root;
    order_matters += plain != root;
    for (int parts = 1; parts < 12; parts++) wrong += in_parts(x, count, parts) != root;
  }
  ok(order_matters > 10, "the numbers tell orders apart (%d of %d)", order_matters, MOST);
  ok(wrong_sum == 0, "dx_tree_sum follows the definition, 1..%d leaves", MOST);
  ok(wrong == 0, "any contiguous cut gives the same root, 1..%d leaves in 1..11 parts", MOST);
  ok(dx_tree_cover(8, 3, 3, (dx_node[DX_TREE_PIECES]){{0}}) == 0, "an empty range has no pieces");
  return done();
}
