/* SPDX-License-Identifier: Apache-2.0 */
/* base/layout.h - buffers that live for a while each, placed in one piece of memory so that those
   which never live at the same time share it.

   Time is a position: a whole number that counts what is done, such as the layers of a forward
   pass and then, backwards, of a backward pass. */
#ifndef DX_BASE_LAYOUT_H
#define DX_BASE_LAYOUT_H
#include "base/arena.h"

enum { DX_LAYOUT_MOST = 2048 };

typedef struct {
  size_t bytes, at; /* multiples of a line */
  int birth, death; /* it holds something from the first position to the last, both included */
} dx_buffer;

typedef struct {
  dx_buffer buffer[DX_LAYOUT_MOST];
  int count;
  size_t bytes; /* of all, once placed */
  unsigned char *base; /* NULL while measuring */
  int members; /* of its arenas */
} dx_layout;

/* A buffer of that many bytes; its number.  Local */
int dx_layout_add(dx_layout *l, size_t bytes, int birth, int death);
/* Give every buffer its place and take the memory from a, which may only measure.  Local */
void dx_layout_place(dx_layout *l, dx_arena *a);
/* Where buffer i stands (NULL while measuring); the same as an arena of its own. */
float *dx_layout_floats(const dx_layout *l, int i);
dx_arena dx_layout_arena(const dx_layout *l, int i);
/* Debug builds fill what is born at this position with NaN: nobody still needs what stood there. */
void dx_layout_enter(const dx_layout *l, int position);
/* The most bytes that live at one position: no placing can do with less. */
size_t dx_layout_bound(const dx_layout *l);
#endif
