/* SPDX-License-Identifier: Apache-2.0 */
/* train/optimizer.h - Adam(W) on a slice of the parameters. All Local. */
#ifndef DX_TRAIN_OPTIMIZER_H
#define DX_TRAIN_OPTIMIZER_H
#include "kernel/kernel.h"
#include "train/spec.h"

/* Learning rate of the step that follows `done` steps: warm-up, then decay. */
double dx_rate(const dx_train_config *c, int64_t done);
/* Factor on the gradient that brings its norm down to clip (0: no bound). */
double dx_clip_factor(double clip, double norm);
/* The kernel's numbers for that step. */
dx_adam dx_adam_of(const dx_train_config *c, int64_t done, double grad_factor);
/* What one row of the table cannot see: false where all is well, else the words for key `*key`. */
bool dx_train_config_wrong(const dx_train_config *c, const char **key, char words[96]);
#endif
