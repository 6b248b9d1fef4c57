/* SPDX-License-Identifier: Apache-2.0 */
/* tests/huge_pages.h - does shared memory stand on huge pages, and can this system do that at all? Asked of the system, not of
   comm/node.c. */
#ifndef DX_TESTS_HUGE_PAGES_H
#define DX_TESTS_HUGE_PAGES_H
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "comm/comm.h"

/* KiB of shared memory on huge pages in the mapping that p lies in. */
static inline long huge_kib(const void *p)
{
  FILE *const maps = fopen("/proc/self/smaps", "r");
  char line[512];
  unsigned long from, to;
  bool inside = false;
  long kib = 0, n;

  while (maps && fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = from <= (uintptr_t)p && (uintptr_t)p < to;
    else if (inside && sscanf(line, "ShmemPmdMapped: %ld kB", &n) == 1) kib = n;
  }
  if (maps) fclose(maps);
  return kib;
}

/* So many for each rank of the node at once, by madvise's MADV_COLLAPSE (25) alone, of pages that are there.  Collective */
static inline bool system_has_huge_pages(const dx_comm *c, int pages)
{
  const size_t bytes = (size_t)pages * DX_HUGE_PAGE;
  bool can = false;
#ifdef MFD_CLOEXEC
  const int file = memfd_create("test", MFD_CLOEXEC);
  char *const room = mmap(NULL, bytes + DX_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *const at = room == MAP_FAILED ? NULL : room + (DX_HUGE_PAGE - (uintptr_t)room % DX_HUGE_PAGE) % DX_HUGE_PAGE;

  if (at && file >= 0 && !ftruncate(file, (off_t)bytes) &&
      mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED) {
    for (size_t i = 0; i < bytes; i += DX_HUGE_PAGE) at[i] = 1;
    can = !madvise(at, bytes, 25) && huge_kib(at) == (long)(bytes / 1024);
  }
  dx_comm_node_barrier(c);
  if (at) munmap(room, bytes + DX_HUGE_PAGE);
  if (file >= 0) close(file);
#else
  (void)c;
  (void)bytes;
#endif
  return can;
}
#endif
