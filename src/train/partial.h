/* SPDX-License-Identifier: Apache-2.0 */
/* train/partial.h - what an evaluation has so far, on disk, so that one that was stopped or killed goes on. Rank 0's; all Local.

   An evaluation is a row of sweeps; of each the file holds how many items are folded and the sums of them. It is written anew
   now and then, and at a stop; what was folded since is computed again, to the same bits. */
#ifndef DX_TRAIN_PARTIAL_H
#define DX_TRAIN_PARTIAL_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/log.h"

typedef struct dx_partial dx_partial;

/* A part of what a sweep sums up. */
typedef struct { void *at; size_t size; } dx_block;
enum { DX_BLOCKS = 4 };
typedef struct { dx_block block[DX_BLOCKS]; } dx_sums; /* unused ones have size 0 */

/* key tells evaluations apart: the file of another one, or a damaged one, is passed over with a word. path NULL: nothing is kept. */
dx_error *dx_partial_open(const char *path, uint64_t key, dx_logger *log, dx_partial **out) DX_MUST_CHECK;
void dx_partial_close(dx_partial *p); /* NULL is fine; the file stays */

/* The next sweep, which adds to these sums: how many of its items they hold now. */
int64_t dx_partial_begin(dx_partial *p, const dx_sums *sums);
/* Its sums hold that many items, and are written if it is time. */
void dx_partial_reach(dx_partial *p, int64_t items);
/* They are written at once. */
void dx_partial_write(dx_partial *p);
/* It is over: its sums may be changed. */
void dx_partial_end(dx_partial *p);
#endif
