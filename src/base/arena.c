/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena.c - see arena.h. */
#include "base/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ALIGN = 64 };

static size_t round_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

dx_error *dx_arena_create(size_t size, dx_arena *a)
{
  size = round_up(size ? size : 1);
  *a = (dx_arena){.base = dx_memory(size), .size = size};
  if (!a->base) return DX_FAIL(INTERNAL, "no memory for a workspace of %.1f MiB", (double)size / (1 << 20));
  return NULL;
}

void dx_arena_destroy(dx_arena *a)
{
  free(a->base);
  *a = (dx_arena){0};
}

float *dx_arena_floats(dx_arena *a, int64_t n)
{
  const size_t at = a->used;

  a->used += round_up((size_t)n * sizeof(float));
  if (a->used > a->peak) a->peak = a->used;
  if (!a->base) return NULL;
  assert(a->used <= a->size);
#ifdef DX_DEBUG
  memset(a->base + at, 0xFF, a->used - at); /* NaN until written */
#endif
  return (float *)(void *)(a->base + at);
}
