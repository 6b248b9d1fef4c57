/* SPDX-License-Identifier: Apache-2.0 */
/* train/run.h - a run from start or resume to its end. */
#ifndef DX_TRAIN_RUN_H
#define DX_TRAIN_RUN_H
#include "train/problem.h"

/* Make or take the run folder (spec->output), lock it, resume from its newest good checkpoint
   or start, and train to the last step with log, record, evaluations, samples and checkpoints.
   DX_E_STOPPED after a request to stop: the checkpoint is written.  Collective */
dx_error *dx_run_train(const dx_team *team, const dx_spec *spec) DX_MUST_CHECK;

/* Print the resolved experiment and what it would take on so many ranks of this rank's threads
   (`--dry-run`) to the log.  Local: team->comm is alone */
dx_error *dx_run_plan(const dx_team *team, const dx_spec *spec, int ranks) DX_MUST_CHECK;
#endif
