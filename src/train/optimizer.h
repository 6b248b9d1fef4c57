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
/* The kernel's numbers for that step; of averages the first one's. */
dx_adam dx_adam_of(const dx_train_config *c, int64_t done, double grad_factor);
/* Moving averages: train.ema has a rate for each. A place among them counts from 1; place 0 means the raw weights. */
int dx_averages(const dx_train_config *c);
/* Share of the old average that stays at the step that follows `done` steps: the rate, or less in train.ema_warmup. */
double dx_average_decay(const dx_train_config *c, int place, int64_t done);
/* "raw", "ema" where there is one average alone, else "ema-RATE"; also the name in checkpoints. Returns name. */
const char *dx_weights_name(const dx_train_config *c, int place, char name[DX_WEIGHTS_NAME]);
/* The place of weights that somebody names: "ema" is the first average, or raw weights where there is none. DX_E_CONFIG
   where there are no such, in words that follow on the key. */
dx_error *dx_weights_find(const dx_train_config *c, const char *name, int *place) DX_MUST_CHECK;
/* What one row of the table cannot see: false where all is well, else the words for key `*key`. */
bool dx_train_config_wrong(const dx_train_config *c, const char **key, char words[96]);
#endif
