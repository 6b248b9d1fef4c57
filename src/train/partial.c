/* SPDX-License-Identifier: Apache-2.0 */
/* train/partial.c - see partial.h.

     file     "diffxev1", key (8 bytes), number of sweeps (8), then sweeps, and the seal of io/file.h; in the machine's byte order
     sweep    items (8), size (8), then size bytes of sums

   State: sweeps [0, at) are over and their bytes are what they were at their end; sweep `at` is under way, with its sums where
   `sums` says; those behind are still as the file had them. */
#include "train/partial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/file.h"

enum { SWEEPS = 8, HEAD = 24 };
/* Seconds between writings, and as many more as keep them to a hundredth of the time. */
static const double least_pause = 0.25, share = 100;
static const char magic[9] = "diffxev1";

typedef struct {
  int64_t items;
  uint64_t size;
  char *bytes;
} sweep_state;

struct dx_partial {
  char path[4096];
  uint64_t key;
  dx_logger *log;
  sweep_state sweep[SWEEPS];
  int at;            /* -1: before the first */
  dx_sums sums;
  double next;       /* clock of the next writing */
  bool off;          /* it cannot be written */
};

/* The sweeps of a file's text; false where it is none of ours. */
static bool take_sweeps(dx_partial *p, const char *text, size_t size)
{
  uint64_t head[2];
  size_t at = HEAD;

  if (size < HEAD || memcmp(text, magic, 8)) return false;
  memcpy(head, text + 8, sizeof head);
  if (head[0] != p->key || head[1] > SWEEPS) return false;
  for (uint64_t i = 0; i < head[1]; i++) {
    sweep_state *const s = &p->sweep[i];

    if (size - at < 16) return false;
    memcpy(&s->items, text + at, 8);
    memcpy(&s->size, text + at + 8, 8);
    at += 16;
    if (s->size > size - at || !(s->bytes = malloc(s->size + 1))) return false;
    memcpy(s->bytes, text + at, s->size);
    at += s->size;
  }
  return true;
}

static void forget(dx_partial *p, int from)
{
  for (int i = from; i < SWEEPS; i++) {
    free(p->sweep[i].bytes);
    p->sweep[i] = (sweep_state){0};
  }
}

/* What stands there, if it is whole and of this evaluation. */
static void look(dx_partial *p)
{
  char *text = NULL;
  size_t size;
  dx_error *err;

  if (!dx_file_exists(p->path)) return;
  err = dx_file_check_seal(p->path);
  if (!err) err = dx_file_read(p->path, (size_t)1 << 40, &text, &size);
  if (err) {
    dx_log_say(p->log, DX_LOG_WARN, "%s; the evaluation is begun anew", dx_error_text(err));
  } else if (!take_sweeps(p, text, size)) {
    forget(p, 0);
    dx_log_say(p->log, DX_LOG_INFO, "%s is of another evaluation: this one is begun anew", p->path);
  }
  dx_error_free(err);
  free(text);
}

dx_error *dx_partial_open(const char *path, uint64_t key, dx_logger *log, dx_partial **out)
{
  dx_partial *const p = calloc(1, sizeof *p);

  if (!p) return DX_FAIL(INTERNAL, "no memory for an evaluation");
  p->key = key;
  p->log = log;
  p->at = -1;
  p->off = path == NULL;
  p->next = dx_clock() + least_pause;
  if (path && snprintf(p->path, sizeof p->path, "%s", path) >= (int)sizeof p->path) p->off = true;
  if (!p->off) look(p);
  *out = p;
  return NULL;
}

void dx_partial_close(dx_partial *p)
{
  if (!p) return;
  forget(p, 0);
  free(p);
}

static uint64_t size_of(const dx_sums *sums)
{
  uint64_t size = 0;

  for (int i = 0; i < DX_BLOCKS; i++) size += sums->block[i].size;
  return size;
}

int64_t dx_partial_begin(dx_partial *p, const dx_sums *sums)
{
  const uint64_t size = size_of(sums);
  sweep_state *s;
  char *from;

  if (p->off || ++p->at >= SWEEPS) {
    p->off = true;
    return 0;
  }
  s = &p->sweep[p->at];
  p->sums = *sums;
  if (s->bytes && s->size != size) forget(p, p->at); /* the key did not tell all */
  if (s->bytes) {
    from = s->bytes;
    for (int i = 0; i < DX_BLOCKS; from += sums->block[i++].size)
      if (sums->block[i].size) memcpy(sums->block[i].at, from, sums->block[i].size);
    if (s->items > 0) dx_log_say(p->log, DX_LOG_DEBUG, "%s: sweep %d goes on from item %lld", p->path, p->at, (long long)s->items);
    return s->items;
  }
  *s = (sweep_state){.size = size, .bytes = malloc(size + 1)};
  if (!s->bytes) p->off = true; /* then this evaluation cannot be gone on with */
  return 0;
}

/* The sums of the sweep under way, as they are. */
static void copy_sums(dx_partial *p)
{
  char *to = p->sweep[p->at].bytes;

  for (int i = 0; i < DX_BLOCKS; to += p->sums.block[i++].size)
    if (p->sums.block[i].size) memcpy(to, p->sums.block[i].at, p->sums.block[i].size);
}

/* The file's bytes, malloc'd; NULL without memory. */
static char *file_of(const dx_partial *p, size_t *size)
{
  const uint64_t head[] = {p->key, (uint64_t)p->at + 1};
  char *text;
  size_t at = HEAD;

  *size = HEAD;
  for (int i = 0; i <= p->at; i++) *size += 16 + p->sweep[i].size;
  text = malloc(*size);
  if (!text) return NULL;
  memcpy(text, magic, 8);
  memcpy(text + 8, head, sizeof head);
  for (int i = 0; i <= p->at; i++) {
    memcpy(text + at, &p->sweep[i].items, 8);
    memcpy(text + at + 8, &p->sweep[i].size, 8);
    memcpy(text + at + 16, p->sweep[i].bytes, p->sweep[i].size);
    at += 16 + p->sweep[i].size;
  }
  return text;
}

void dx_partial_write(dx_partial *p)
{
  const double begin = dx_clock();
  size_t size;
  char *text;
  dx_error *err;

  if (p->off || p->at < 0) return;
  copy_sums(p);
  text = file_of(p, &size);
  err = text ? dx_file_write_sealed(p->path, text, size) : DX_FAIL(INTERNAL, "no memory");
  free(text);
  if (err) {
    p->off = true;
    dx_log_say(p->log, DX_LOG_WARN, "%s; after a stop this evaluation would be begun anew", dx_error_text(err));
    dx_error_free(err);
  }
  const double now = dx_clock(), pause = share * (now - begin);
  p->next = now + (pause > least_pause ? pause : least_pause);
}

void dx_partial_reach(dx_partial *p, int64_t items)
{
  if (p->off) return;
  p->sweep[p->at].items = items;
  if (dx_clock() >= p->next) dx_partial_write(p);
}

void dx_partial_end(dx_partial *p)
{
  if (p->off) return;
  copy_sums(p);
  p->sums = (dx_sums){0};
}
