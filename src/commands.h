/* SPDX-License-Identifier: Apache-2.0 */
/* commands.h - the commands of diffx, one file cmd_NAME.c each. */
#ifndef DX_COMMANDS_H
#define DX_COMMANDS_H
#include "base/error.h"
#include "base/log.h"
#include "comm/comm.h"
#include "experiment.h"
#include "train/problem.h"

/* A command at work. */
typedef struct {
  int argc;        /* arguments after the command's name */
  char **argv;
  dx_comm *comm;   /* NULL for commands that start no MPI */
  dx_logger *log;
} dx_call;

typedef struct {
  const char *name, *usage, *help;
  enum { DX_NO_MPI, DX_MPI } mpi;
  dx_error *(*run)(const dx_call *call); /* Collective with DX_MPI */
} dx_command;

/* Ends with a NULL name. */
extern const dx_command dx_commands[];

#define DX_COMMANDS(X) X(train) X(sample) X(evaluate) X(data) X(model) X(predict) X(verify) X(compare) X(status) X(list) X(help)
#define X(name) dx_error *dx_cmd_##name(const dx_call *call) DX_MUST_CHECK;
DX_COMMANDS(X)
#undef X
dx_error *dx_cmd_export_samples(const dx_call *call) DX_MUST_CHECK;
dx_error *dx_cmd_plan(const dx_call *call) DX_MUST_CHECK;    /* train with --dry-run */
dx_error *dx_cmd_version(const dx_call *call) DX_MUST_CHECK; /* --version */

/* Take option NAME (and its value, if value is wanted) out of the arguments; *value NULL if absent. */
dx_error *dx_call_option(dx_call *call, const char *name, const char **value) DX_MUST_CHECK;
bool dx_call_flag(dx_call *call, const char *name);
/* The command that was probably meant, or NULL. */
const char *dx_nearest_command(const char *word);
/* Can a file of that name be made in its folder?  Local */
dx_error *dx_call_folder(const char *path) DX_MUST_CHECK;
/* A file that a command is asked to write: its folder must take it, and what stands there already is
   replaced only if it is diffx's own of the same content ("samples", "record", "dataset") and no part
   of a run.  Collective with MPI */
dx_error *dx_call_output(const dx_call *call, const char *path, const char *content) DX_MUST_CHECK;
/* STEM.h5, or the first of STEM-2.h5, ... that is not there yet.  Collective */
void dx_call_fresh(const dx_call *call, const char *stem, char *path, size_t room);

/* argv[0] is an experiment file, the others are assignments. Rank 0 reads, all parse.  Collective */
dx_error *dx_call_experiment(const dx_call *call, dx_experiment **out) DX_MUST_CHECK;

/* argv[0] is a run folder or checkpoint, the others are assignments: its experiment, then its weights. */
typedef struct {
  dx_experiment *experiment;
  char *file;            /* the checkpoint */
  char folder[2048];     /* of the run; "." for a checkpoint that stands elsewhere */
  int64_t step, floats;  /* floats: of w, once it is there */
  uint64_t dataset_hash; /* of the data it was trained with; rank 0, elsewhere 0 */
  dx_model_spec model;   /* as in dx_checkpoint_head, and so are lo and hi (rank 0) */
  double lo, hi;
  float *w;              /* whole; NULL before dx_trained_weights */
  int ema;               /* which: 0 raw, else the place of their average in train.ema */
} dx_trained;
dx_error *dx_call_trained(const dx_call *call, dx_data_use data, dx_trained *out) DX_MUST_CHECK; /* Collective */
/* Rank 0's part, for commands without MPI: the experiment is not made, its text is *settings (malloc'd).  Local */
dx_error *dx_trained_read(const dx_call *call, dx_trained *t, char **settings) DX_MUST_CHECK;
/* Refuse a checkpoint too old to tell the shape of its model, which commands without data need.  Local */
dx_error *dx_trained_has_shape(const dx_trained *t) DX_MUST_CHECK;
/* The weights of that name (dx_weights_find).  Collective; with c NULL Local */
dx_error *dx_trained_weights(const dx_comm *c, dx_trained *t, const char *name) DX_MUST_CHECK;
/* Take --ema or --ema=RATE (or the whole name) out of the arguments: the name of those weights, "raw" without.  Then the weights, as above, where a
   name other than raw needs an average. */
void dx_call_ema(dx_call *call, char name[DX_WEIGHTS_NAME]);
dx_error *dx_trained_ema(const dx_comm *c, dx_trained *t, const char *name) DX_MUST_CHECK;
void dx_trained_free(dx_trained *t);
/* Refuse a problem p whose model is another one, warn where its data are others than those of the
   training.  Collective */
dx_error *dx_trained_compare(const dx_trained *t, const dx_problem *p) DX_MUST_CHECK;
#endif
