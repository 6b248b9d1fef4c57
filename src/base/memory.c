/* SPDX-License-Identifier: Apache-2.0 */
/* base/memory.c - see memory.h. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64 };

void *dx_memory(size_t bytes)
{
  const size_t align = bytes >= DX_HUGE_PAGE ? DX_HUGE_PAGE : ALIGN;
  void *p;

  if (posix_memalign(&p, align, bytes ? bytes : 1)) return NULL;
#ifdef MADV_HUGEPAGE /* advice: where it is refused nothing is lost; the last part of a page stays small */
  if (align == DX_HUGE_PAGE) (void)madvise(p, bytes / DX_HUGE_PAGE * DX_HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return p;
}

void dx_memory_give_back(void *p, size_t bytes)
{
#ifdef MADV_DONTNEED
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)p + page - 1) / page * page;
  const uintptr_t end = ((uintptr_t)p + bytes) / page * page;

  if (end > first) (void)madvise((void *)first, end - first, MADV_DONTNEED);
#else
  (void)p;
  (void)bytes;
#endif
}

double dx_memory_here(void)
{
#ifdef _SC_PHYS_PAGES
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

  return pages > 0 && size > 0 ? (double)pages * (double)size : 0;
#else
  return 0;
#endif
}
