/* SPDX-License-Identifier: Apache-2.0 */
/* base/memory.c - see memory.h. */
#include "base/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

void *dx_memory(size_t bytes)
{
  const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : ALIGN;
  void *p;

  if (posix_memalign(&p, align, bytes ? bytes : 1)) return NULL;
#ifdef MADV_HUGEPAGE /* advice: where it is refused nothing is lost; the last part of a page stays small */
  if (align == HUGE_PAGE) (void)madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return p;
}
