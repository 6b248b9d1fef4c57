/* SPDX-License-Identifier: Apache-2.0 */
/* train/record.h - RUN/metrics.h5: what a run measured. Rank 0's alone; all Local.

   Rows live in memory and, one by one, in RUN/journal; metrics.h5 is made anew from them
   and renamed into place, so that it is whole at any moment. doc/formats.md. */
#ifndef DX_TRAIN_RECORD_H
#define DX_TRAIN_RECORD_H
#include "train/evaluate.h"
#include "train/problem.h"
#include "train/trainer.h"

typedef struct dx_record dx_record;

/* Open the record of a run folder: rows of the journal up to last_step are taken over, later
   ones cut (they will be made again). The journal of another experiment is refused. Where rows are
   missing up to last_step, since the journal is damaged or gone, that is said, and the metrics.h5 that
   still has them is kept beside as metrics-before-step-N.h5. */
dx_error *dx_record_open(const dx_problem *p, const char *folder, int64_t last_step, dx_record **out) DX_MUST_CHECK;
void dx_record_close(dx_record *r); /* does not save; NULL is fine */

typedef struct {
  int64_t step;
  double loss, grad_norm, rate;
  double seconds, examples_per_second, compute, exchange; /* for group timing */
  double compute_fastest, compute_slowest;                /* of all ranks */
} dx_train_row;
dx_error *dx_record_train(dx_record *r, const dx_train_row *row) DX_MUST_CHECK;
/* The window's means by t; the caller empties the window. */
dx_error *dx_record_by_t(dx_record *r, int64_t step, const dx_window *w) DX_MUST_CHECK;
dx_error *dx_record_evaluation(dx_record *r, const dx_evaluation *e) DX_MUST_CHECK;
/* A process began to work on the run. */
dx_error *dx_record_session(dx_record *r, int64_t step, const char *start, int64_t ranks, int64_t threads,
                            const char *hosts) DX_MUST_CHECK;
/* Everything up to this step is in the journal and on the disk: said before the checkpoint of the step is
   written, so that a resume from there knows whether it has all rows. */
dx_error *dx_record_mark(dx_record *r, int64_t step) DX_MUST_CHECK;
bool dx_record_has_evaluation(const dx_record *r, int64_t step);
/* Does metrics.h5 stand on the disk, whole and with all rows? Of the rank that has the record.  Local */
bool dx_record_is_saved(const dx_record *r);
/* Put metrics.h5 on disk. */
dx_error *dx_record_save(dx_record *r) DX_MUST_CHECK;
/* One evaluation as a record of its own at path, outside of any run; it tells which weights. */
dx_error *dx_record_write_evaluation(const dx_problem *p, const dx_evaluation *e, const char *path) DX_MUST_CHECK;
#endif
