/* SPDX-License-Identifier: Apache-2.0 */
/* One rank fails, all hear of it, in its words; nobody hangs. The memory of a node is one, or nobody has it. */
#include "comm/comm.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FLOATS = 100000 }; /* no multiple of a page */

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
  dx_comm_node_memory_free(p, FLOATS * sizeof *p);
  return bad;
}

/* One rank can open no more files. */
static int one_without(const dx_comm *c, int who)
{
  struct rlimit files, none;

  if (getrlimit(RLIMIT_NOFILE, &files)) return 1;
  none = (struct rlimit){.rlim_cur = 0, .rlim_max = files.rlim_max};
  if (dx_comm_node_rank(c) == who && setrlimit(RLIMIT_NOFILE, &none)) return 1;
  const bool refused = dx_comm_node_memory(c, FLOATS) == NULL;
  return setrlimit(RLIMIT_NOFILE, &files) || !refused || one_memory(c);
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
  bad = dx_comm_max_i64(c, one_memory(c));
  if (rank == 0) ok(bad == 0, "memory of a node: zeros, then what all %d ranks wrote", size);
  for (int who = 0; who < 2; who++) {
    bad = dx_comm_max_i64(c, one_without(c, who));
    if (rank == 0) ok(bad == 0, "none where %s cannot, and later again", who ? "one who opens it" : "its maker");
  }
  bad = rank == 0 ? done() : 0;
  dx_comm_stop(c);
  return (int)bad;
}
