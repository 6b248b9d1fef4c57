/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers placed by lifetime: none in the way of another, little more memory than must be, the same
   places every time. */
#include "base/layout.h"
#include "base/random.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>

static int in_the_way(const dx_layout *l)
{
  int n = 0;

  for (int i = 0; i < l->count; i++)
    for (int j = 0; j < i; j++) {
      const dx_buffer *const a = &l->buffer[i], *const b = &l->buffer[j];

      n += a->birth <= b->death && b->birth <= a->death && a->at < b->at + b->bytes && b->at < a->at + a->bytes;
    }
  return n;
}

static size_t end_of(const dx_layout *l)
{
  size_t end = 0;

  for (int i = 0; i < l->count; i++)
    if (l->buffer[i].at + l->buffer[i].bytes > end) end = l->buffer[i].at + l->buffer[i].bytes;
  return end;
}

/* n buffers of all sizes; nested lives as in a network's two passes, or any. */
static void fill(dx_layout *l, int n, int nested, uint64_t index)
{
  const dx_stream s = {.seed = 6, .purpose = DX_FOR_TEST, .index = index};

  memset(l, 0, sizeof *l);
  for (int i = 0; i < n; i++) {
    uint32_t w[4];

    dx_stream_words(&s, (uint32_t)i, w);
    const int birth = nested ? i : (int)dx_below(w[1], 50), death = nested ? 2 * n - i : birth + (int)dx_below(w[2], 20);
    dx_layout_add(l, dx_below(w[0], 5000), birth, death);
  }
}

int main(void)
{
  dx_layout *const l = malloc(sizeof *l), *const again = malloc(sizeof *again);
  dx_arena memory;

  for (int n = 1; n <= 200; n = 3 * n + 1)
    for (int nested = 0; nested < 2; nested++) {
      dx_arena count = {0};

      fill(l, n, nested, (uint64_t)n);
      dx_layout_place(l, &count);
      ok(!in_the_way(l) && end_of(l) == l->bytes && count.peak == l->bytes, "%d buffers in %zu bytes, none in the way", n, l->bytes);
      ok(l->bytes >= dx_layout_bound(l) && (double)l->bytes <= (nested ? 1 : 1.2) * (double)dx_layout_bound(l), "no more than %s must be, %zu",
         nested ? "" : "1.2 times what", dx_layout_bound(l));
      if (dx_arena_create(count.peak, &memory)) abort();
      *again = *l;
      dx_layout_place(again, &memory);
      ok(!memcmp(again->buffer, l->buffer, sizeof l->buffer) && memory.used == count.peak, "with memory the places are those that were measured");
      const int last = n - 1;
      dx_arena one = dx_layout_arena(again, last);
      ok((void *)dx_layout_floats(again, last) == (void *)one.base && one.size == again->buffer[last].bytes && !dx_layout_floats(l, last),
         "a buffer is an arena of its own");
      dx_arena_destroy(&memory);
    }
  free(l);
  free(again);
  return done();
}
