/* SPDX-License-Identifier: Apache-2.0 */
/* data/store.c - one rank's share of a split: held, or read in blocks; see inside.h.

   The share is cut into blocks; a slot holds one block. Held whole, it is one block that
   is never given up. Else a block that is asked for takes the slot used longest ago. */
#include "data/inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a block of a share that is not held; the least is more than a tiny data.memory allows,
   as reading row by row would take for ever. */
enum { BLOCK = 1 << 20, BLOCK_LEAST = 1 << 14 };

typedef struct { int64_t block, used; } slot; /* block -1: empty */

struct dx_store {
  dx_store_plan plan;
  int64_t row_bytes, block_rows, blocks, slots, clock;
  slot *slot;          /* (slots) */
  int32_t *slot_of;    /* (blocks): where a block is, -1: nowhere */
  unsigned char *rows; /* (slots, block_rows, row_bytes) */
  int32_t *label;      /* (slots, block_rows); NULL without labels */
};

void dx_store_destroy(dx_store *s)
{
  if (!s) return;
  free(s->slot);
  free(s->slot_of);
  free(s->rows);
  free(s->label);
  free(s);
}

bool dx_store_reads_later(const dx_store *s) { return s->slots < s->blocks; }

int64_t dx_store_bytes(const dx_store *s)
{
  return s->slots * s->block_rows * (s->row_bytes + (s->label ? (int64_t)sizeof *s->label : 0)) +
         s->blocks * (int64_t)sizeof *s->slot_of;
}

/* How large a block is and how many are held. */
static void lay_out(dx_store *s)
{
  const dx_store_plan *p = &s->plan;
  const int64_t row = s->row_bytes + (p->info->classes > 0 ? 4 : 0);

  s->block_rows = p->count > 0 ? p->count : 1;
  s->slots = s->blocks = 1;
  if (p->budget < 0 || p->count <= p->budget / row) return;
  s->block_rows = BLOCK / row;
  if (s->block_rows > p->budget / row / 4) s->block_rows = p->budget / row / 4; /* so four or more */
  if (s->block_rows < BLOCK_LEAST / row) s->block_rows = BLOCK_LEAST / row;
  if (s->block_rows < 1) s->block_rows = 1;
  s->blocks = (p->count + s->block_rows - 1) / s->block_rows;
  s->slots = p->budget / (s->block_rows * row);
  if (s->slots < 1) s->slots = 1;
  if (s->slots > s->blocks) s->slots = s->blocks;
}

static dx_error *allocate(dx_store *s)
{
  const size_t held = (size_t)s->slots * (size_t)s->block_rows;
  size_t bytes;

  if (__builtin_mul_overflow(held, (size_t)s->row_bytes, &bytes))
    return DX_FAIL(INTERNAL, "the samples of one rank are too large");
  s->slot = calloc((size_t)s->slots, sizeof *s->slot);
  s->slot_of = malloc((size_t)s->blocks * sizeof *s->slot_of);
  s->rows = malloc(bytes);
  if (s->plan.info->classes > 0) s->label = malloc(held * sizeof *s->label);
  if (!s->slot || !s->slot_of || !s->rows || (s->plan.info->classes > 0 && !s->label))
    return DX_FAIL(INTERNAL, "no memory for %zu bytes of samples; data.memory can limit them", bytes);
  for (int64_t i = 0; i < s->slots; i++) s->slot[i].block = -1;
  for (int64_t i = 0; i < s->blocks; i++) s->slot_of[i] = -1;
  return NULL;
}

static unsigned char *rows_of(const dx_store *s, int64_t at) { return s->rows + at * s->row_bytes; }
static int32_t *labels_of(const dx_store *s, int64_t at) { return s->label ? s->label + at : NULL; }

/* The slot used longest ago. */
static int64_t oldest(const dx_store *s)
{
  int64_t k = 0;

  for (int64_t i = 1; i < s->slots; i++)
    if (s->slot[i].used < s->slot[k].used) k = i;
  return k;
}

/* Read a block into slot k, piece by piece, checked on the way; hash may be NULL. */
static dx_error *fill_slot(dx_store *s, int64_t k, int64_t block, uint64_t *hash)
{
  const dx_store_plan *p = &s->plan;
  const int64_t first = block * s->block_rows, rest = p->count - first;
  const int64_t n = rest < s->block_rows ? rest : s->block_rows, piece = dx_piece_rows(p->info);

  if (s->slot[k].block >= 0) s->slot_of[s->slot[k].block] = -1;
  s->slot[k].block = -1;
  s->slot[k].used = 0;
  for (int64_t i = 0; i < n; i += piece) {
    const int64_t m = n - i < piece ? n - i : piece, at = k * s->block_rows + i;
    const int64_t row = p->first + first + i;

    DX_TRY(p->source->rows(p->state, p->split, row, m, rows_of(s, at), labels_of(s, at)));
    DX_TRY(dx_content_check(p->info, p->split, row, m, rows_of(s, at), labels_of(s, at)));
    if (hash) *hash += dx_content_sum(p->info, p->split, row, m, rows_of(s, at), labels_of(s, at));
  }
  s->slot[k].block = block;
  s->slot_of[block] = (int32_t)k;
  return NULL;
}

dx_error *dx_store_create(const dx_store_plan *plan, uint64_t *hash, dx_store **out)
{
  dx_store *s = calloc(1, sizeof *s);
  dx_error *e;

  if (!s) return DX_FAIL(INTERNAL, "out of memory");
  s->plan = *plan;
  s->row_bytes = dx_row_bytes(plan->info);
  lay_out(s);
  e = allocate(s);
  for (int64_t i = 0; i < s->blocks && !e; i++) e = fill_slot(s, i % s->slots, i, hash);
  if (e) dx_store_destroy(s);
  else *out = s;
  return e;
}

dx_error *dx_store_row(dx_store *s, int64_t i, const void **row, int32_t *label)
{
  const int64_t at = i - s->plan.first, block = at / s->block_rows;
  int64_t k;

  assert(at >= 0 && at < s->plan.count);
  if (s->slot_of[block] < 0) DX_TRY(fill_slot(s, oldest(s), block, NULL));
  k = s->slot_of[block];
  s->slot[k].used = ++s->clock;
  *row = rows_of(s, k * s->block_rows + at % s->block_rows);
  if (s->label) *label = s->label[k * s->block_rows + at % s->block_rows];
  return NULL;
}
