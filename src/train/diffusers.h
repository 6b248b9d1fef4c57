/* SPDX-License-Identifier: Apache-2.0 */
/* train/diffusers.h - a U-Net as a folder of Hugging Face's diffusers: config.json and
   diffusion_pytorch_model.safetensors of a UNet2DModel, and what makes a DDPMPipeline of it. All Local. */
#ifndef DX_TRAIN_DIFFUSERS_H
#define DX_TRAIN_DIFFUSERS_H
#include <stdio.h>
#include "diffusion/process.h"
#include "nn/model.h"

/* What config.json says. */
typedef struct {
  dx_shape sample;      /* b = 1 */
  int64_t out_channels;
  char *settings;       /* YAML: section model of an experiment */
} dx_diffusers;

/* Read config.json of a folder. What diffx cannot represent is DX_E_DATA, every such key in a line with what was
   found and what is allowed.  Needs jansson, else DX_E_USAGE */
dx_error *dx_diffusers_read(const char *folder, dx_diffusers *out) DX_MUST_CHECK;
void dx_diffusers_free(dx_diffusers *d);
/* Its weights as those of p, w (p->floats): every tensor by name and shape, none missing, none left over. */
dx_error *dx_diffusers_read_weights(const char *folder, const dx_params *p, float *w) DX_MUST_CHECK;
/* The other way, as the file path. */
dx_error *dx_diffusers_write_weights(const char *path, const dx_params *p, const float *w) DX_MUST_CHECK;
extern const char dx_diffusers_weights_name[]; /* in a folder */
/* The process that a network was trained for, as a DDPMScheduler. */
typedef struct {
  const char *prediction, *variance; /* in diffusers' words */
  const dx_process *process;
  double clip;                       /* x0hat to [-clip, clip], normalised units; 0: not at all */
  bool pipeline;                     /* a DDPMPipeline can draw with it: it tells a network no class */
} dx_diffusers_scheduler;
/* Of objective.predict and objective.variance, both prediction and variance; false where diffusers has no such. */
bool dx_diffusers_words(const char *predict, const char *variance, dx_diffusers_scheduler *out);
/* As the text of scheduler_config.json; ctx is the scheduler. And of model_index.json; ctx is unread. */
void dx_diffusers_put_scheduler(FILE *to, const void *ctx);
void dx_diffusers_put_index(FILE *to, const void *ctx);
/* What a scheduler_config.json in a network's folder, or beside it in its pipeline, says of the process. */
typedef struct {
  char file[4200];  /* "": there is none */
  char *settings;   /* YAML: sections process and objective of an experiment, as far as diffx has words for it; NULL: none */
  char lacks[600];  /* what it has none for */
} dx_diffusers_process;
/* learns: the network has channels for a variance. DX_E_DATA where it is no such file. */
dx_error *dx_diffusers_read_process(const char *folder, bool learns, dx_diffusers_process *out) DX_MUST_CHECK;
void dx_diffusers_process_free(dx_diffusers_process *p);
/* Write such a folder, whole or not at all, with scheduler/scheduler_config.json and model_index.json where there is a scheduler
   (NULL: none). Where it is there, it must be empty. config: of model unet. */
dx_error *dx_diffusers_write(const char *folder, const void *config, const dx_model_spec *spec, const dx_params *p,
                             const float *w, const dx_diffusers_scheduler *scheduler) DX_MUST_CHECK;
#endif
