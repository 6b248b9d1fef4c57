/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/times.h - which t each example of a training batch is noised to.

   A draw is a function of seed, step and place in the batch (and of what all earlier losses were), so it is
   the same on any number of ranks. */
#ifndef DX_DIFFUSION_TIMES_H
#define DX_DIFFUSION_TIMES_H
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

enum { DX_HISTORY = 10 }; /* losses kept of each t */

/* The last losses of each t, and the chances that follow from them. */
typedef struct {
  int64_t timesteps;
  int64_t *count;             /* (T) losses kept, at most DX_HISTORY */
  double *loss;               /* (T, DX_HISTORY) oldest first */
  double *chance, *below;     /* (T) of t; of all t before */
} dx_history;

dx_error *dx_history_create(int64_t T, dx_history *out) DX_MUST_CHECK;
void dx_history_destroy(dx_history *h);
/* One more loss of t = 1..T; examples are to be added in the order of their places. */
void dx_history_add(dx_history *h, int64_t t, double loss);
/* The chances of the losses as they stand: after additions, or after the arrays were read. */
void dx_history_weigh(dx_history *h);

/* What a draw may know. */
typedef struct {
  uint64_t seed;
  int64_t step, batch, timesteps;
  const dx_history *history; /* NULL unless the way of drawing learns */
  double sigma_mean, sigma_std; /* of ln sigma, for log-normal */
} dx_lot;

/* One row of the list in times.c. weight: what the example's loss is multiplied with, so that its mean is that of
   uniform t. */
typedef struct {
  const char *name, *help;
  bool learns; /* from the losses of all examples of each step */
  int32_t (*draw)(const dx_lot *l, int64_t place, double *weight);
  double (*sigma)(const dx_lot *l, int64_t place); /* in place of draw: any sigma = sqrt(nbar / abar), no step; weight 1 */
} dx_times;

const dx_times *dx_times_find(const char *name); /* NULL: no such way */
const dx_times *dx_times_at(int i);              /* in list order; NULL after the last */
#endif
