/* SPDX-License-Identifier: Apache-2.0 */
/* One rank fails, all hear of it, in its words; nobody hangs. The memory of a node is one, or nobody has it. */
#define _GNU_SOURCE /* memfd_create */
#include "comm/comm.h"
#include "huge_pages.h"
#include "node_memory.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FLOATS = 100000 }; /* no multiple of a page */
enum { PAGES = 1 << 16 };  /* bytes */

/* Each rank writes its share, and reads those of all. */
static int one_memory(const dx_comm *c)
{
  const int rank = dx_comm_node_rank(c), size = dx_comm_node_size(c);
  float *const p = dx_comm_node_memory(c, FLOATS * sizeof *p);
  int bad = !p;

  for (int i = rank; i < FLOATS && p; i += size) bad |= p[i] != 0;
  dx_comm_node_barrier(c);
  for (int i = rank; i < FLOATS && p; i += size) p[i] = (float)(rank + 1);
  dx_comm_node_barrier(c);
  for (int i = 0; i < FLOATS && p; i++) bad |= p[i] != (float)(i % size + 1);
  dx_comm_node_barrier(c);
  if (rank == size - 1 && p) dx_comm_node_memory_rest(p, PAGES);
  dx_comm_node_barrier(c);
  for (int i = 0; i < FLOATS && p; i++) bad |= p[i] != (i < (int)(PAGES / sizeof *p) ? 0 : (float)(i % size + 1));
  dx_comm_node_memory_free(p, FLOATS * sizeof *p);
  return bad;
}

/* One rank can open no more files, or write no long ones. */
static int one_without(const dx_comm *c, int who, int resource)
{
  struct rlimit usual, none;

  if (getrlimit(resource, &usual)) return 1;
  none = (struct rlimit){.rlim_cur = resource == RLIMIT_NOFILE ? 0 : FLOATS - 1, .rlim_max = usual.rlim_max};
  if (dx_comm_node_rank(c) == who && setrlimit(resource, &none)) return 1;
  const bool refused = dx_comm_node_memory(c, FLOATS) == NULL;
  return setrlimit(resource, &usual) || !refused || one_memory(c);
}

/* On huge pages once taken, and again after a rest; what stands there stays. */
static int on_huge_pages(const dx_comm *c)
{
  enum { EACH = 2 * DX_HUGE_PAGE, REST = DX_HUGE_PAGE + PAGES, OFF = 64 /* what is before the first huge page is left alone */ };
  const size_t bytes = (size_t)dx_comm_node_size(c) * EACH;
  char *const p = dx_comm_node_memory(c, bytes), *const mine = p ? p + dx_comm_node_rank(c) * EACH : NULL;

  if (!p) return 1;
  dx_comm_node_memory_take(mine, EACH);
  dx_comm_node_barrier(c);
  memset(mine, 1, EACH);
  int bad = huge_kib(mine) < EACH / 1024;
  dx_comm_node_memory_rest(mine, REST);
  dx_comm_node_barrier(c);
  mine[0] = 2;
  dx_comm_node_memory_take(mine + OFF, EACH - OFF);
  bad |= huge_kib(mine) < DX_HUGE_PAGE / 1024;
  dx_comm_node_memory_take(mine, EACH);
  bad |= huge_kib(mine) < EACH / 1024;
  for (int i = 0; i < EACH; i++) bad |= mine[i] != (i == 0 ? 2 : i < REST ? 0 : 1);
  dx_comm_node_barrier(c);
  dx_comm_node_memory_free(p, bytes);
  return bad;
}

/* Where the system can do it at all. */
static void memory_of_a_node(const dx_comm *c)
{
  static const struct { const char *name; int who, resource; } cases[] = {
    {"its maker opens no file", 0, RLIMIT_NOFILE}, {"its maker writes no long file", 0, RLIMIT_FSIZE}, {"another opens none", 1, RLIMIT_NOFILE}};
  const bool lead = dx_comm_rank(c) == 0;
  int64_t bad;

  if (!dx_comm_min_i64(c, system_shares_memory())) {
    if (lead) ok(1, "memory of a node # SKIP this system has none");
    return;
  }
  bad = dx_comm_max_i64(c, one_memory(c));
  if (lead) ok(bad == 0, "memory of a node: zeros, then what all %d ranks wrote, zeros again at rest", dx_comm_size(c));
  const bool before = dx_comm_min_i64(c, system_has_huge_pages(c, 2));
  bad = dx_comm_max_i64(c, on_huge_pages(c));
  const bool can = before && dx_comm_min_i64(c, system_has_huge_pages(c, 2));
  if (lead && (bad == 0 || can)) ok(bad == 0, "it stands on huge pages once taken, and again after a rest of a part");
  else if (lead) ok(1, "huge pages # SKIP this system makes none of shared memory");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    bad = dx_comm_max_i64(c, one_without(c, cases[i].who, cases[i].resource));
    if (lead) ok(bad == 0, "none where %s, and later again", cases[i].name);
  }
}

int main(int argc, char **argv)
{
  dx_comm *c;
  int64_t bad = 0;

  if (dx_comm_start(&argc, &argv, &c)) return 99;
  const int rank = dx_comm_rank(c), size = dx_comm_size(c);
  dx_error *none = dx_comm_agree(c, NULL);

  if (none) bad++;
  dx_error_free(none);
  for (int who = 0; who < size; who++) {
    dx_error *e = dx_comm_agree(c, rank >= who ? DX_FAIL(IO, "cannot open a%d.h5", rank) : NULL);
    char text[64];

    snprintf(text, sizeof text, who ? "rank %d: cannot open a%d.h5" : "cannot open a%d.h5", who, who);
    if (!e || dx_error_code(e) != DX_E_IO || strncmp(dx_error_text(e), text, strlen(text))) bad++;
    dx_error_free(e);
  }
  char *text = rank == 0 ? strdup("as rank 0 says") : NULL;
  dx_error *e = dx_comm_broadcast_text(c, &text);
  if (e || !text || strcmp(text, "as rank 0 says")) bad++;
  dx_error_free(e);
  free(text);
  bad = dx_comm_max_i64(c, bad);
  if (rank == 0) ok(bad == 0, "the lowest failing rank's words reach all %d ranks", size);
  memory_of_a_node(c);
  bad = rank == 0 ? done() : 0;
  dx_comm_stop(c);
  return (int)bad;
}
