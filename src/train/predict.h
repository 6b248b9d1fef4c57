/* SPDX-License-Identifier: Apache-2.0 */
/* train/predict.h - what a network predicts for the rows of a file. */
#ifndef DX_TRAIN_PREDICT_H
#define DX_TRAIN_PREDICT_H
#include "train/net.h"

typedef struct {
  const dx_team *team;
  const dx_spec *spec;  /* its process.timesteps bound t, evaluate.grain is the grain */
  dx_model_spec model;  /* what the network was made for */
  const char *in, *out;
  int64_t step;         /* of the weights, and which they are (as in dx_evaluation_head): for the file */
  int ema;
} dx_predict_job;

/* Read /x, /t and /label of job->in (doc/formats.md), write job->out. Rows are cut into grains, which
   are computed by all ranks and threads: the same bits whoever computes them. Reserves and loads net.
   DX_E_DATA names file, dataset and row of what is wrong; then no file is left.  Collective */
dx_error *dx_predict_rows(const dx_predict_job *job, dx_net *net, const float *w) DX_MUST_CHECK;
#endif
