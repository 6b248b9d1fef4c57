/* SPDX-License-Identifier: Apache-2.0 */
/* nn/params.c - see params.h. */
#include "nn/params.h"

#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/random.h"

enum { PAD = 16 }; /* floats: one 64-byte line */

dx_error *dx_params_add(dx_params *p, const dx_param_entry *what, dx_param *out)
{
  int64_t n = 1;

  if (p->count == p->room) {
    const int64_t room = p->room ? 2 * p->room : 16;
    dx_param_entry *e = realloc(p->entry, (size_t)room * sizeof *e);

    if (!e) return DX_FAIL(INTERNAL, "no memory for the table of parameters");
    p->entry = e;
    p->room = room;
  }
  for (int d = 0; d < what->dims; d++) n *= what->dim[d];
  dx_param_entry *const e = &p->entry[p->count++];
  *e = *what;
  e->where = (dx_param){p->floats, n};
  p->floats += (n + PAD - 1) / PAD * PAD;
  p->numbers += n;
  *out = e->where;
  return NULL;
}

void dx_params_destroy(dx_params *p)
{
  free(p->entry);
  *p = (dx_params){0};
}

void dx_params_start(const dx_params *p, uint64_t seed, float *w)
{
  memset(w, 0, (size_t)p->floats * sizeof *w);
  for (int64_t i = 0; i < p->count; i++) {
    const dx_param_entry *const e = &p->entry[i];
    const dx_stream s = {.seed = seed, .purpose = DX_FOR_INIT, .step = (uint64_t)i};
    uint32_t word[4] = {0};
    double normal[4] = {0}; /* of one block, as dx_stream_normals makes them */

    for (int64_t j = 0; j < e->where.n; j++) {
      if (j % 4 == 0 && (e->bound > 0 || e->deviation > 0)) dx_stream_words(&s, (uint32_t)(j / 4), word);
      if (j % 4 == 0 && e->deviation > 0) {
        dx_box_muller(word[0], word[1], &normal[0], &normal[1]);
        dx_box_muller(word[2], word[3], &normal[2], &normal[3]);
      }
      w[e->where.at + j] = e->bound > 0       ? (float)(e->bound * (2 * dx_uniform(word[j % 4]) - 1))
                           : e->deviation > 0 ? (float)(e->deviation * normal[j % 4])
                                              : e->fill;
    }
  }
}

bool dx_drop_of(const dx_pass *p, uint32_t layer, double chance, dx_drop *out)
{
  const uint32_t drop = (uint32_t)(65536 * chance + 0.5);

  if (!p->draw || drop == 0) return false;
  const dx_stream s = {.seed = p->draw->seed, .purpose = DX_FOR_DROPOUT, .layer = layer, .step = p->draw->step};
  *out = (dx_drop){.drop = drop, .scale = (float)(65536.0 / (65536.0 - drop))};
  dx_stream_start(&s, out->key, out->ctr);
  return true;
}

void dx_dropout(const dx_pass *p, uint32_t layer, double chance, int64_t B, int64_t n, float *x)
{
  dx_drop drop;

  if (dx_drop_of(p, layer, chance, &drop)) p->kernel->dropout(&drop, B, p->draw->place, n, x);
}

typedef struct { const dx_kernels *kernel; int64_t n; const float *a, *b; float *y; } addition;

/* Pages of 1024 numbers. */
static void add_pages(const void *addition_, int64_t from, int64_t to, int member)
{
  const addition *const q = addition_;
  const int64_t at = from * 1024, end = to * 1024 < q->n ? to * 1024 : q->n;

  (void)member;
  q->kernel->add(end - at, q->a + at, q->b + at, q->y + at);
}

void dx_add(const dx_pass *p, int64_t n, const float *a, const float *b, float *y)
{
  const addition q = {p->kernel, n, a, b, y};

  dx_crew_do(p->crew, (n + 1023) / 1024, add_pages, &q);
}
