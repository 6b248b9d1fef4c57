/* SPDX-License-Identifier: Apache-2.0 */
/* train/checkpoint.h - the training state on disk: RUN/checkpoints/step-NNNNNNNN.h5.

   The file is the state and the scientific settings, nothing else: equal experiments
   give equal bytes on any number of ranks. Every array carries a checksum. */
#ifndef DX_TRAIN_CHECKPOINT_H
#define DX_TRAIN_CHECKPOINT_H
#include "train/trainer.h"

/* Write the state (its window whole on rank 0) into folder, keep the newest `keep` files there.
   Collective */
dx_error *dx_checkpoint_save(dx_trainer *t, const dx_problem *p, const char *folder, int64_t keep) DX_MUST_CHECK;

/* A checkpoint of step 0 with weights alone, of a model that was trained elsewhere, whose samples' range is not known.  Local */
dx_error *dx_checkpoint_write_weights(const char *path, const char *settings, const dx_model_spec *model, const dx_params *p,
                                      const float *w) DX_MUST_CHECK;

/* What stands in a checkpoint beside the arrays.  Texts malloc'd. */
typedef struct {
  int64_t format, step;
  char *settings, *kernels;
  uint64_t dataset_hash;
  dx_model_spec model;   /* what the model was made for; without timesteps, and sample.b 0 where the file is too old to tell */
  double lo, hi;         /* range of its samples, normalised units; infinite: the data declare none, NaN: the file does not tell */
} dx_checkpoint_head;
void dx_checkpoint_head_free(dx_checkpoint_head *h);

/* Check one file: its seal, all vectors and their checksums. head may be NULL.  DX_E_DATA where damaged.  Local */
dx_error *dx_checkpoint_open(const char *path, dx_checkpoint_head *head) DX_MUST_CHECK;
/* The weights of that name (dx_weights_name) from a file that was checked; *w is malloc'd, floats long.  DX_E_DATA tells
   which there are where there are no such.  Local */
dx_error *dx_checkpoint_read(const char *path, const char *name, float **w, int64_t *floats) DX_MUST_CHECK;
/* Are the parameters of a checkpoint (floats long) those of p (NULL: none at all), by name, place and shape?
   DX_E_DATA tells the first that is not.  Local */
dx_error *dx_checkpoint_fits(const char *path, int64_t floats, const dx_params *p) DX_MUST_CHECK;
/* The newest good checkpoint of a folder (malloc'd path), or *path = NULL where there is none.
   Damaged newer ones are told to log and passed over; if all are damaged, that is an error.  Local */
dx_error *dx_checkpoint_find(const char *folder, dx_logger *log, char **path) DX_MUST_CHECK;
/* A run folder's newest good checkpoint, or the file itself if path is one (malloc'd).  Local */
dx_error *dx_checkpoint_resolve(const char *path, dx_logger *log, char **file) DX_MUST_CHECK;

/* Rank 0 reads path, every rank gets its part; refuses other parameters or data.  Collective */
dx_error *dx_checkpoint_load(const char *path, dx_trainer *t, const dx_problem *p) DX_MUST_CHECK;
#endif
