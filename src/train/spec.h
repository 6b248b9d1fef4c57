/* SPDX-License-Identifier: Apache-2.0 */
/* train/spec.h - an experiment as plain structs: all that a run is told. */
#ifndef DX_TRAIN_SPEC_H
#define DX_TRAIN_SPEC_H
#include <stdbool.h>
#include <stdint.h>
#include "base/crew.h"
#include "base/log.h"
#include "base/option.h"
#include "comm/comm.h"
#include "data/dataset.h"
#include "diffusion/objective.h"
#include "diffusion/process.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "kernel/kernel.h"
#include "nn/model.h"

/* train.* */
typedef struct {
  int64_t steps, batch, grain;
  char t_sampling[16];      /* which t the examples of a batch are noised to: diffusion/times.c */
  char optimizer[16];       /* "adam" | "adamw" */
  double rate, beta1, beta2, epsilon, weight_decay;
  int64_t warmup;           /* steps of linear rise */
  char decay[16];           /* "none" | "cosine" | "linear" */
  double clip;              /* global norm; 0: none */
  dx_reals ema;             /* rates of moving averages; a single 0: none */
  char ema_warmup[16];      /* "none" | "inverse" | "half-life" */
  int64_t log_every, by_t_every, checkpoint_every;
  char init_from[1024];     /* "" : start from random weights */
} dx_train_config;
extern const dx_option dx_train_options[];

/* Room for the name of weights: "raw", "ema" (the first average), or "ema-0.9999" (of that rate). */
enum { DX_WEIGHTS_NAME = 40 };

/* evaluate.* */
typedef struct {
  int64_t every;            /* steps; 0: at the end only; -1: never */
  int64_t examples;         /* of the test split; 0: all */
  int64_t timesteps;        /* strata, each with one t per example; 0: every t */
  int64_t budget;           /* forward passes that give the strata, where timesteps is 0; 0: none */
  char strata[16];          /* "squares" | "neyman" */
  char respace[128], spacing[16]; /* which steps: diffusion/grid.h */
  int64_t pilot;            /* examples of the training split, with neyman */
  int64_t draws;            /* of noise, per example and t */
  int64_t train_examples;   /* of the training split, for the gap; 0: none */
  bool clip;                /* x0hat to the data's range, if they declare one */
  char weights[DX_WEIGHTS_NAME];
  char per_example[8];      /* "totals" | "terms", in files of diffx evaluate */
  int64_t grain;
} dx_evaluate_config;
extern const dx_option dx_evaluate_options[];

/* sample.* */
typedef struct {
  int64_t every;            /* as evaluate.every */
  int64_t count, grain;
  char sampler[32];
  char weights[DX_WEIGHTS_NAME];
  int64_t trajectory;       /* snapshots of the reverse process that are kept */
} dx_sample_config;
extern const dx_option dx_sample_options[];

/* run.* */
typedef struct {
  int64_t threads;          /* 0: as many as the rank may use */
  int64_t crew;             /* threads that share a grain; 0: one, or more where grains are few */
  char kernels[16];         /* "auto" | a kernel set */
  double time_limit;        /* seconds; 0: none */
  double stall_limit;       /* seconds; 0: none */
  int64_t keep;             /* checkpoints */
  bool allow_other_bits;    /* resume on another kernel set */
  bool profile;             /* tell at the end where the time went */
  char log[8];              /* level */
} dx_run_config;
extern const dx_option dx_run_options[];

/* The whole; every pointer is owned by who filled it. */
typedef struct dx_spec dx_spec;
struct dx_spec {
  const char *name, *output;
  uint64_t seed;
  dx_data_config data;
  const void *data_kind;
  dx_process_config process;
  const dx_schedule *schedule;
  const void *schedule_config;
  const dx_model *model;          /* NULL: the exact predictor (model.kind: exact) */
  const void *model_config;
  dx_objective_config objective;
  const dx_loss *loss;
  const void *loss_config;
  dx_train_config train;
  dx_evaluate_config evaluate;
  dx_sample_config sample;
  const dx_sampler *sampler;
  const void *sampler_config;
  dx_run_config run;
  const char *settings;           /* YAML of the scientific settings */
  const char *everything;         /* YAML of all */
  /* NULL where a run that was begun with these scientific settings may go on with ours; else
     DX_E_CONFIG with the keys that differ.  Local */
  dx_error *(*compatible)(const dx_spec *s, const char *theirs);
  const void *sections;           /* for compatible */
};

/* Who works: this rank's threads and kernels. */
typedef struct {
  const dx_comm *comm;
  dx_logger *log;
  dx_kernels kernel;
  int threads;
  dx_crew *crew;                  /* (threads) */
  int64_t crew_size;              /* threads of one, at most; 0: any */
  char kernels[64];               /* "avx512+zen3": ours and BLIS's, the same on all ranks */
  int64_t *first_worker;          /* (ranks + 1): a rank's workers are its threads */
} dx_team;

/* Agree on kernels (run.kernels), start BLIS, choose the threads.  Collective */
dx_error *dx_team_form(const dx_comm *c, dx_logger *log, const dx_run_config *run,
                       dx_team *out) DX_MUST_CHECK;
void dx_team_part(dx_team *t); /* Local */
/* Grains [*first, *last) of count that a rank computes: contiguous, by its threads' share.  Local */
void dx_team_share(const dx_team *t, int64_t count, int rank, int64_t *first, int64_t *last);
enum { DX_MANY_ITEMS = INT32_MAX }; /* more than threads, however many */
/* How many crews this rank's threads form for so many items (grains) of work: one of each thread, or, where there are
   fewer items than threads and one may be shared, fewer and larger ones, so that all threads work.  Local */
int dx_team_crews(const dx_team *t, int64_t items, bool shares);
int dx_team_members(const dx_team *t, int crews); /* of the largest of so many crews */
/* All items, by so many crews at once: work(ctx, crew, item), called by the leader of team->crew[crew], whose members
   help in what is handed to it.  Local */
void dx_team_each(const dx_team *t, int crews, int64_t items, void (*work)(void *ctx, int crew, int64_t item), void *ctx);
#endif
