/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient sum on several ranks equals the definition on one, bit for bit, and slices come to all: with vectors that are
   each rank's own, with vectors that a node's ranks share, and with nodes that this test makes up. */
#define _GNU_SOURCE /* memfd_create */
#include "comm/reduce.h"
#include "huge_pages.h"
#include "tap.h"
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

/* Vectors of each rank's own, and of the node. */
static const int64_t lengths[] = {2 * DX_BLOCK + 77, DX_BLOCKS_WORTH_THREADS * DX_BLOCK + 77};

/* How ranks are spread over nodes: all on one, or (MPI's profiling interface) so that even and odd ones, or the last and the
   others, are apart. */
typedef enum { ONE_NODE, EVEN_AND_ODD, LAST_APART, NODES } nodes_kind;
static nodes_kind kind;

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *out)
{
  int rank, size;

  if (kind == ONE_NODE) return PMPI_Comm_split_type(comm, type, key, info, out);
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  return MPI_Comm_split(comm, kind == EVEN_AND_ODD ? rank % 2 : rank == size - 1, key, out);
}

/* MPI itself starts and stops once. */
int MPI_Init_thread(int *argc, char ***argv, int wanted, int *got)
{
  static int given;
  const int answer = kind == ONE_NODE ? PMPI_Init_thread(argc, argv, wanted, &given) : MPI_SUCCESS;

  *got = given;
  return answer;
}

int MPI_Finalize(void) { return kind + 1 < NODES ? MPI_SUCCESS : PMPI_Finalize(); }

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

/* Reductions of G leaves with that many threads a rank: wrong floats of this rank's slice, and of all slices when they
   have come to everybody. */
static int64_t check(const dx_comm *c, int64_t G, int threads, int64_t floats)
{
  const int size = dx_comm_size(c);
  int64_t first[64], at, n, wrong = 0;
  dx_reduce *r;
  const float *slice;
  int level = 0;

  for (int p = 0; p <= size; p++) first[p] = dx_share_first(G, size, p);
  while (((int64_t)1 << level) < G) level++;
  const dx_reduce_plan plan = {.leaves = G, .floats = floats, .folders = threads, .threads = threads,
                               .first_rank_leaf = first};
  const size_t bytes = (size_t)floats * sizeof(float);
  float *const ours = dx_reduce_shares(floats) ? dx_comm_node_memory(c, bytes) : NULL, *const whole = ours ? ours : malloc(bytes);
  const bool of_node = dx_comm_min_i64(c, ours || dx_comm_node_size(c) == 1);
  dx_error *e = dx_reduce_create(c, &plan, add, &r);
  if (e || !whole) return -1;
  for (int repeat = 0; repeat < 3; repeat++) {
    dx_reduce_start(r);
    for (int t = 0; t < threads; t++) {
      int64_t from, to;

      dx_reduce_range(r, t, &from, &to);
      for (int64_t leaf = from; leaf < to; leaf++) {
        float *v = dx_reduce_leaf(r, t);

        for (int64_t i = 0; i < floats; i++) v[i] += element(leaf, i);
        dx_reduce_done(r, t, leaf);
      }
    }
    dx_reduce_finish(r, &slice, &at, &n);
    for (int64_t i = 0; i < n; i += 13) wrong += slice[i] != by_definition(G, 0, level, at + i);
    for (int64_t i = 0; i < n; i++) whole[at + i] = (float)(at + i + repeat);
    dx_reduce_spread(r, whole, of_node);
    for (int64_t i = 0; i < floats; i++) wrong += whole[i] != (float)(i + repeat);
    dx_comm_barrier(c); /* nobody compares any more */
    for (int64_t i = 0; i < n; i += 13) wrong += slice[i] != by_definition(G, 0, level, at + i); /* it stands until the next start */
    if (repeat == 1) {
      dx_reduce_rest(r);
      dx_comm_barrier(c);
      const bool here = ours && dx_comm_leader(c, 0) == dx_comm_leader(c, dx_comm_rank(c)); /* where the first subtree stands */
      for (int64_t i = 0; i < n && here; i++) wrong += slice[i] != 0;
      dx_comm_barrier(c);
    }
  }
  dx_reduce_destroy(r);
  if (ours) dx_comm_node_memory_free(ours, bytes);
  else free(whole);
  return wrong;
}

static void check_nodes(const dx_comm *c, const char *nodes)
{
  const int64_t grains[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 21};

  for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
    for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
      for (int threads = 1; threads <= 3; threads++) {
        const int64_t wrong = dx_comm_max_i64(c, check(c, grains[g], threads, lengths[l]));

        if (dx_comm_rank(c) == 0)
          ok(wrong == 0, "%d grains on %d ranks x %d threads, %s, %s vectors", (int)grains[g], dx_comm_size(c), threads, nodes,
             l ? "long" : "short");
      }
}

/* Both vectors of this rank as a step begins: on huge pages but for those that they share with neighbours. */
static int64_t is_huge(dx_reduce *r, int64_t floats)
{
  const size_t bytes = (size_t)floats * sizeof(float);
  int64_t huge = 1;

  dx_reduce_start(r);
  for (int folder = 0; folder < 2; folder++) {
    float *const v = dx_reduce_leaf(r, folder);

    (void)madvise(v, bytes, folder ? MADV_DONTFORK : MADV_DONTDUMP); /* so that smaps tells of each alone */
    huge &= huge_kib(v) >= (int64_t)((bytes - 2 * DX_HUGE_PAGE) / 1024);
  }
  return huge;
}

/* Vectors of ranks that share a node, at the first step and after a rest. */
static void check_pages(const dx_comm *c)
{
  const int64_t floats = 6 * DX_HUGE_PAGE / (int64_t)sizeof(float) + DX_BLOCK, size = dx_comm_size(c);
  int64_t first[64], good = 1;
  dx_reduce *r;

  for (int64_t p = 0; p <= size; p++) first[p] = dx_share_first(2 * size, size, p);
  const dx_reduce_plan plan = {.leaves = 2 * size, .floats = floats, .folders = 2, .threads = 1, .first_rank_leaf = first};
  dx_error *e = dx_reduce_create(c, &plan, add, &r);

  if (e) return;
  const bool before = dx_comm_min_i64(c, system_has_huge_pages(c, 16));
  good &= is_huge(r, floats);
  dx_reduce_rest(r);
  dx_comm_barrier(c);
  good &= is_huge(r, floats);
  dx_comm_barrier(c);
  dx_reduce_destroy(r);
  good = dx_comm_min_i64(c, good);
  const bool can = before && dx_comm_min_i64(c, system_has_huge_pages(c, 16));
  if (dx_comm_rank(c) == 0) ok(good || !can, "gradient vectors on huge pages%s", can ? "" : " # SKIP this system makes none of shared memory");
}

int main(int argc, char **argv)
{
  static const char *const names[] = {"one node", "even and odd ranks on nodes of their own", "the last rank on a node of its own"};
  int bad = 0;
  dx_comm *c;

  for (kind = ONE_NODE; kind < NODES; kind++) {
    if (dx_comm_start(&argc, &argv, &c)) return 99;
    const int nodes = kind == ONE_NODE || dx_comm_size(c) == 1 ? 1 : 2;

    if (dx_comm_rank(c) == 0) ok(dx_comm_nodes(c) == nodes, "%s", names[kind]);
    check_nodes(c, names[kind]);
    if (kind == ONE_NODE && dx_comm_size(c) > 1) check_pages(c);
    if (dx_comm_rank(c) == 0 && kind + 1 == NODES) bad = done();
    dx_comm_stop(c);
  }
  return bad;
}
