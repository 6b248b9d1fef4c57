/* SPDX-License-Identifier: Apache-2.0 */
/* train/run.h - a run from start or resume to its end. */
#ifndef DX_TRAIN_RUN_H
#define DX_TRAIN_RUN_H
#include <stdio.h>
#include "train/problem.h"

/* Make or take the run folder (spec->output), lock it, resume from its newest good checkpoint
   or start, and train to the last step with log, record, evaluations, samples and checkpoints.
   DX_E_STOPPED after a request to stop: the checkpoint is written.  Collective */
dx_error *dx_run_train(const dx_team *team, const dx_spec *spec) DX_MUST_CHECK;

/* Is something with this period due at a step? every: 0 at the last step alone, < 0 never.  Local */
bool dx_run_due(int64_t every, int64_t step, int64_t last);
/* Where the samples of a step of the run in that folder stand.  Local */
void dx_run_samples_path(const char *output, int64_t step, char *path, size_t room);
/* May a run of this spec go on from that checkpoint (same scientific settings, same kernels, no more steps than asked for)?
   DX_E_CONFIG says why not. step: that of the checkpoint.  Local */
dx_error *dx_run_may_go_on(const dx_team *team, const dx_spec *spec, const char *path, int64_t *step) DX_MUST_CHECK;
/* What an experiment asks of its data, beyond what a problem needs.  Local */
dx_error *dx_run_check(const dx_problem *p) DX_MUST_CHECK;

/* plan.c: warn of workers (threads of all ranks) that no step of training has anything for.  Local */
void dx_run_warn_idle(const dx_problem *p, int64_t workers);
/* plan.c: warn of a folder that no run has used and that is not empty: a wrong output is soon typed.  Local */
void dx_run_warn_folder(const dx_team *team, const char *output);
/* plan.c: print the resolved experiment and what it would take on so many ranks of this rank's threads
   (`--dry-run`), and check that its folder can be taken or gone on with. Writes no file.
   Local: team->comm is alone */
dx_error *dx_run_plan(const dx_team *team, const dx_spec *spec, int ranks, FILE *to) DX_MUST_CHECK;
#endif
