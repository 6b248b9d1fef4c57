/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena.h - one aligned block of memory, handed out from the bottom up. */
#ifndef DX_BASE_ARENA_H
#define DX_BASE_ARENA_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* With base == NULL the arena only counts: run the same placing code twice,
   once to measure (peak), once for real. Debug builds hand out NaN. */
typedef struct {
  unsigned char *base; /* NULL while measuring */
  size_t used, size, peak;
  int members; /* of the crew that works here, each with scratch of its own where it needs some; 0: one */
} dx_arena;

dx_error *dx_arena_create(size_t size, dx_arena *a) DX_MUST_CHECK; /* Local */
void dx_arena_destroy(dx_arena *a);
/* n floats, 64-byte aligned; NULL while measuring. Asserts that they fit. */
float *dx_arena_floats(dx_arena *a, int64_t n);

static inline int dx_arena_members(const dx_arena *a) { return a->members > 1 ? a->members : 1; }
/* Floats from one member's n to the next one's. */
static inline int64_t dx_arena_step(int64_t n) { return (n + 15) / 16 * 16; }
/* n floats for each member of the crew. */
static inline float *dx_arena_floats_each(dx_arena *a, int64_t n)
{
  return dx_arena_floats(a, dx_arena_members(a) * dx_arena_step(n));
}
/* Where a member's stand. */
static inline float *dx_arena_of(float *first, int64_t n, int member) { return first + member * dx_arena_step(n); }

static inline size_t dx_arena_mark(const dx_arena *a) { return a->used; }
static inline void dx_arena_release(dx_arena *a, size_t mark) { a->used = mark; }
#endif
