/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient sum on several ranks equals the definition on one, bit for bit. */
#include "comm/reduce.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>

enum { FLOATS = 2 * DX_BLOCK + 77 };

static float element(int64_t leaf, int64_t i)
{
  return (float)((leaf * 7919 + i * 104729) % 10007) * (leaf % 3 ? 1e-4f : 3.0f);
}

static float by_definition(int64_t G, int64_t first, int level, int64_t i)
{
  if (level == 0) return element(first, i);

  const int64_t half = (int64_t)1 << (level - 1);
  const float left = by_definition(G, first, level - 1, i);
  return first + half < G ? left + by_definition(G, first + half, level - 1, i) : left;
}

static void add(int64_t n, const float *a, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

/* One reduction of G leaves with that many threads a rank: wrong floats of this rank's slice. */
static int64_t check(const dx_comm *c, int64_t G, int threads)
{
  const int size = dx_comm_size(c);
  int64_t first[64], at, n, wrong = 0;
  dx_reduce *r;
  const float *slice;
  int level = 0;

  for (int p = 0; p <= size; p++) first[p] = dx_share_first(G, size, p);
  while (((int64_t)1 << level) < G) level++;
  const dx_reduce_plan plan = {.leaves = G, .floats = FLOATS, .folders = threads, .threads = threads,
                               .first_rank_leaf = first};
  dx_error *e = dx_reduce_create(c, &plan, add, &r);
  if (e) return -1;
  for (int repeat = 0; repeat < 2; repeat++) {
    for (int t = 0; t < threads; t++) {
      int64_t from, to;

      dx_reduce_range(r, t, &from, &to);
      for (int64_t leaf = from; leaf < to; leaf++) {
        float *v = dx_reduce_leaf(r, t);

        for (int64_t i = 0; i < FLOATS; i++) v[i] += element(leaf, i);
        dx_reduce_done(r, t, leaf);
      }
    }
    dx_reduce_finish(r, &slice, &at, &n);
    for (int64_t i = 0; i < n; i += 13) wrong += slice[i] != by_definition(G, 0, level, at + i);
  }
  dx_reduce_destroy(r);
  return wrong;
}

int main(int argc, char **argv)
{
  const int64_t grains[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 21};
  dx_comm *c;

  if (dx_comm_start(&argc, &argv, &c)) return 99;
  for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
    for (int threads = 1; threads <= 3; threads++) {
      const int64_t wrong = dx_comm_max_i64(c, check(c, grains[g], threads));

      if (dx_comm_rank(c) == 0)
        ok(wrong == 0, "%d grains on %d ranks x %d threads", (int)grains[g], dx_comm_size(c), threads);
    }
  const int bad = dx_comm_rank(c) == 0 ? done() : 0;
  dx_comm_stop(c);
  return bad;
}
