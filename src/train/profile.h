/* SPDX-License-Identifier: Apache-2.0 */
/* train/profile.h - run.profile: where a training's time goes, beside what the machine can do.

   The roofline (Williams, Waterman and Patterson 2009): a layer with that many operations for
   each byte that it must move cannot be faster than the lesser of the cores' rate and
   intensity x memory's rate. Rates are of one thread while all threads of all ranks are busy. */
#ifndef DX_TRAIN_PROFILE_H
#define DX_TRAIN_PROFILE_H
#include "base/profile.h"
#include "nn/params.h"
#include "train/spec.h"

typedef struct { double flops, bytes; } dx_roof; /* per second and thread */

/* About half a second. Best called by all ranks at once.  Local */
dx_error *dx_roof_measure(const dx_team *team, dx_roof *out) DX_MUST_CHECK;
/* What that takes, and gives back, in each rank.  Local */
int64_t dx_roof_bytes(int threads);

typedef struct {
  const dx_profile *sum;    /* of this rank's threads */
  const dx_params *params;  /* for the layers' names */
  dx_roof roof;
  int threads;
  int64_t steps;
  double compute, exchange; /* seconds of this rank: gradients; samples, sum of gradients and update */
} dx_profile_report;

/* The kinds of layers to the log, and each layer to a CSV file (doc/formats.md).  Local */
dx_error *dx_profile_tell(const dx_profile_report *r, dx_logger *log, const char *path) DX_MUST_CHECK;
#endif
