/* SPDX-License-Identifier: Apache-2.0 */
/* data/fetch.c - rows travel from their owners to the ranks that compute with them.

   Every rank knows what every rank wants. start packs, rank by rank, the rows that are ours
   and wanted there, and sends them off; finish puts what came into the order asked for. Rows
   that a rank wants of itself are copied at finish and never sent. So between start and
   finish only `send` and `receive` are in use, and `rows` is still that of the batch before.

     block from one rank to another: its k rows, then their k labels */
#include "data/inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct dx_fetch {
  dx_dataset *set;
  dx_split split;
  int ranks, me;
  int64_t most, row_bytes, label_bytes;
  bool can_fail;              /* somewhere: a rank that reads blocks later */
  dx_error *failed;           /* of our packing */
  dx_exchange *exchange;
  unsigned char *send, *receive, *rows;
  int32_t *label;             /* NULL without labels */
  int64_t *want, wanted;      /* rows that this rank asked for, in order */
  int *owner;                 /* of each row of the whole batch */
  int64_t mine;               /* where our rows begin in it */
  int64_t *counts;            /* (5, ranks): see the names below */
  int64_t *send_counts, *send_offsets, *receive_counts, *receive_offsets, *taken;
};

/* Who owns row i: the inverse of dx_share_first. */
static int owner_of(const dx_fetch *f, int64_t i)
{
  const int64_t n = f->set->info.count[f->split], q = n / f->ranks, longer = n % f->ranks;

  if (i < (q + 1) * longer) return (int)(i / (q + 1));
  return (int)(longer + (i - (q + 1) * longer) / q);
}

static dx_error *allocate(dx_fetch *f)
{
  const size_t most = (size_t)f->most, ranks = (size_t)f->ranks;
  size_t bytes;

  if (f->most < 0 || __builtin_mul_overflow(most, (size_t)(f->row_bytes + f->label_bytes), &bytes))
    return DX_FAIL(INTERNAL, "a batch of %lld rows is too large", (long long)f->most);
  f->rows = malloc(bytes + 1);
  f->want = malloc((most + 1) * sizeof *f->want);
  f->owner = calloc(most + 1, sizeof *f->owner);
  f->counts = calloc(5 * ranks, sizeof *f->counts);
  if (f->label_bytes) f->label = malloc((most + 1) * sizeof *f->label);
  if (f->ranks > 1) { /* one rank alone sends nothing */
    f->send = malloc(bytes + 1);
    f->receive = malloc(bytes + 1);
  }
  if (!f->rows || !f->want || !f->owner || !f->counts || (f->label_bytes && !f->label) ||
      (f->ranks > 1 && (!f->send || !f->receive)))
    return DX_FAIL(INTERNAL, "no memory for a batch of %lld rows", (long long)f->most);
  f->send_counts = f->counts;
  f->send_offsets = f->counts + ranks;
  f->receive_counts = f->counts + 2 * ranks;
  f->receive_offsets = f->counts + 3 * ranks;
  f->taken = f->counts + 4 * ranks;
  return dx_exchange_create(f->set->comm, &f->exchange);
}

dx_error *dx_fetch_create(dx_dataset *d, dx_split split, int64_t max_rows_total, dx_fetch **out)
{
  dx_fetch *f = calloc(1, sizeof *f);
  dx_error *e = f ? NULL : DX_FAIL(INTERNAL, "out of memory");

  if (f) {
    f->set = d;
    f->split = split;
    f->ranks = dx_comm_size(d->comm);
    f->me = dx_comm_rank(d->comm);
    f->most = max_rows_total;
    f->row_bytes = dx_row_bytes(&d->info);
    f->label_bytes = d->info.classes > 0 ? (int64_t)sizeof *f->label : 0;
    e = allocate(f);
  }
  e = dx_comm_agree(d->comm, e);
  if (e) {
    dx_fetch_destroy(f);
    return e;
  }
  f->can_fail = dx_comm_max_i64(d->comm, dx_store_reads_later(d->store[split])) > 0;
  *out = f;
  return NULL;
}

void dx_fetch_destroy(dx_fetch *f)
{
  if (!f) return;
  if (f->exchange) dx_exchange_finish(f->exchange);
  dx_exchange_destroy(f->exchange);
  dx_error_free(f->failed);
  free(f->send);
  free(f->receive);
  free(f->rows);
  free(f->label);
  free(f->want);
  free(f->owner);
  free(f->counts);
  free(f);
}

/* Our rows among those with numbers first .. end - 1 of the batch, into the block at p. After
   a failure the block keeps its length, for the others count on it. Returns the length. */
static int64_t pack(dx_fetch *f, const int64_t *index, int64_t first, int64_t end, unsigned char *p)
{
  dx_store *store = f->set->store[f->split];
  int64_t ours = 0, k = 0;

  for (int64_t i = first; i < end; i++) ours += f->owner[i] == f->me;
  for (int64_t i = first; i < end && !f->failed; i++) {
    const void *row;
    int32_t label;

    if (f->owner[i] != f->me) continue;
    f->failed = dx_store_row(store, index[i], &row, &label);
    if (f->failed) break;
    memcpy(p + k * f->row_bytes, row, (size_t)f->row_bytes);
    if (f->label) memcpy(p + ours * f->row_bytes + k * f->label_bytes, &label, sizeof label);
    k++;
  }
  return ours * (f->row_bytes + f->label_bytes);
}

/* How much comes from whom, by what we want. */
static void expect(dx_fetch *f)
{
  int64_t at = 0;

  memset(f->receive_counts, 0, (size_t)f->ranks * sizeof *f->receive_counts);
  for (int64_t i = 0; i < f->wanted; i++) {
    const int from = f->owner[f->mine + i];

    if (from != f->me) f->receive_counts[from] += f->row_bytes + f->label_bytes;
  }
  for (int r = 0; r < f->ranks; r++) {
    f->receive_offsets[r] = at;
    at += f->receive_counts[r];
  }
}

void dx_fetch_start(dx_fetch *f, const int64_t *index, const int64_t *first)
{
  int64_t at = 0;

  assert(first[0] == 0 && first[f->ranks] <= f->most);
  f->mine = first[f->me];
  f->wanted = first[f->me + 1] - f->mine;
  memcpy(f->want, index + f->mine, (size_t)f->wanted * sizeof *f->want);
  if (f->ranks == 1) return; /* owner stays all zero: us */
  for (int64_t i = 0; i < first[f->ranks]; i++) f->owner[i] = owner_of(f, index[i]);
  for (int r = 0; r < f->ranks; r++) {
    f->send_offsets[r] = at;
    f->send_counts[r] = r == f->me ? 0 : pack(f, index, first[r], first[r + 1], f->send + at);
    at += f->send_counts[r];
  }
  expect(f);
  dx_exchange_start(f->exchange, f->send, f->send_counts, f->send_offsets, f->receive,
                    f->receive_counts, f->receive_offsets);
}

/* Row i of the batch, from our own share. */
static void take_own(dx_fetch *f, int64_t i)
{
  const void *row;
  int32_t label = 0;

  if (!f->failed) f->failed = dx_store_row(f->set->store[f->split], f->want[i], &row, &label);
  if (f->failed) return;
  memcpy(f->rows + i * f->row_bytes, row, (size_t)f->row_bytes);
  if (f->label) f->label[i] = label;
}

/* Row i of the batch: the next one in the block that came from its owner. */
static void take_sent(dx_fetch *f, int64_t i, int from)
{
  const unsigned char *block = f->receive + f->receive_offsets[from];
  const int64_t k = f->taken[from]++, n = f->receive_counts[from] / (f->row_bytes + f->label_bytes);

  memcpy(f->rows + i * f->row_bytes, block + k * f->row_bytes, (size_t)f->row_bytes);
  if (f->label)
    memcpy(&f->label[i], block + n * f->row_bytes + k * f->label_bytes, sizeof *f->label);
}

dx_error *dx_fetch_finish(dx_fetch *f, const void **rows, const int32_t **labels)
{
  dx_error *e;

  if (f->ranks > 1) dx_exchange_finish(f->exchange);
  memset(f->taken, 0, (size_t)f->ranks * sizeof *f->taken);
  for (int64_t i = 0; i < f->wanted; i++) {
    const int from = f->owner[f->mine + i];

    if (from == f->me) take_own(f, i);
    else take_sent(f, i, from);
  }
  e = f->failed;
  f->failed = NULL;
  if (f->can_fail) DX_TRY(dx_comm_agree(f->set->comm, e));
  *rows = f->rows;
  *labels = f->label;
  return NULL;
}
