/* SPDX-License-Identifier: Apache-2.0 */
/* base/memory.h - large arrays of numbers. */
#ifndef DX_BASE_MEMORY_H
#define DX_BASE_MEMORY_H
#include <stddef.h>

/* Bytes of a huge page where pages are of 4 KiB; where they are not, what is asked for by it is refused and nothing is lost. */
enum { DX_HUGE_PAGE = 2 << 20 };

/* At least that many bytes, 64-byte aligned, not set; NULL where there is no memory. Large ones stand on huge pages
   where the system has them: with pages of 4 KiB a product that reads megabytes of weights once waits for their
   addresses. Give back by free.  Local */
void *dx_memory(size_t bytes);
/* Nobody needs what stands there any more: its whole pages go back to the system, which gives other ones at the next
   touch. Where there is no such call all stays as it is.  Local */
void dx_memory_give_back(void *p, size_t bytes);
/* Bytes that this machine has in all, whatever a job may use of them; 0 where it does not tell.  Local */
double dx_memory_here(void);
#endif
