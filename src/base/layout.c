/* SPDX-License-Identifier: Apache-2.0 */
/* base/layout.c - see layout.h. The largest buffer comes first, each at the lowest place that is
   free for its whole life. */
#include "base/layout.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { LINE = 64 };

int dx_layout_add(dx_layout *l, size_t bytes, int birth, int death)
{
  assert(l->count < DX_LAYOUT_MOST && birth <= death);
  l->buffer[l->count] = (dx_buffer){.bytes = (bytes + LINE - 1) / LINE * LINE, .birth = birth, .death = death};
  return l->count++;
}

static bool overlap(const dx_buffer *a, const dx_buffer *b)
{
  return a->birth <= b->death && b->birth <= a->death && a->at < b->at + b->bytes && b->at < a->at + a->bytes;
}

/* The largest buffer that is not placed yet, the first of equal ones; -1: none. */
static int largest(const dx_layout *l, const bool *placed)
{
  int best = -1;

  for (int i = 0; i < l->count; i++)
    if (!placed[i] && (best < 0 || l->buffer[i].bytes > l->buffer[best].bytes)) best = i;
  return best;
}

void dx_layout_place(dx_layout *l, dx_arena *a)
{
  bool placed[DX_LAYOUT_MOST] = {false};
  int i;

  l->bytes = 0;
  while ((i = largest(l, placed)) >= 0) {
    dx_buffer *const b = &l->buffer[i];

    b->at = 0;
    for (int j = 0; j < l->count; j++)
      if (placed[j] && overlap(b, &l->buffer[j])) { /* nothing lower is free either */
        b->at = l->buffer[j].at + l->buffer[j].bytes;
        j = -1;
      }
    placed[i] = true;
    if (b->at + b->bytes > l->bytes) l->bytes = b->at + b->bytes;
  }
  l->base = (unsigned char *)dx_arena_floats(a, (int64_t)(l->bytes / sizeof(float)));
}

float *dx_layout_floats(const dx_layout *l, int i)
{
  return l->base ? (float *)(void *)(l->base + l->buffer[i].at) : NULL;
}

dx_arena dx_layout_arena(const dx_layout *l, int i)
{
  return (dx_arena){.base = (unsigned char *)dx_layout_floats(l, i), .size = l->buffer[i].bytes, .members = l->members};
}

void dx_layout_enter(const dx_layout *l, int position)
{
#ifdef DX_DEBUG
  for (int i = 0; i < l->count; i++)
    if (l->buffer[i].birth == position) memset(l->base + l->buffer[i].at, 0xFF, l->buffer[i].bytes);
#else
  (void)l;
  (void)position;
#endif
}

size_t dx_layout_bound(const dx_layout *l)
{
  size_t most = 0;

  for (int i = 0; i < l->count; i++) { /* some life begins where the most live */
    size_t sum = 0;

    for (int j = 0; j < l->count; j++)
      if (l->buffer[j].birth <= l->buffer[i].birth && l->buffer[i].birth <= l->buffer[j].death) sum += l->buffer[j].bytes;
    if (sum > most) most = sum;
  }
  return most;
}
