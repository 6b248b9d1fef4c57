/* SPDX-License-Identifier: Apache-2.0 */
/* nn/params.h - all parameters as named views into one float vector, and what a
   pass through the network may touch. */
#ifndef DX_NN_PARAMS_H
#define DX_NN_PARAMS_H
#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/crew.h"
#include "base/profile.h"
#include "kernel/kernel.h"

typedef struct { int64_t at, n; } dx_param; /* floats [at, at + n) of the vector */

enum { DX_PARAM_DIMS = 4 };

typedef struct {
  char name[64];
  dx_param where;
  int dims;
  int64_t dim[DX_PARAM_DIMS];
  double bound;     /* starts uniform in (-bound, bound) ... */
  double deviation; /* ... or, with bound 0, normal with this standard deviation ... */
  float fill;       /* ... or, with both 0, at this value */
} dx_param_entry;

/* The table of parameters; grows while a model is created, then stays. */
typedef struct {
  dx_param_entry *entry;
  int64_t count, room;
  int64_t floats;  /* length of the vector: entries are padded to 16 floats */
  int64_t numbers; /* parameters proper, without padding */
} dx_params;

/* Add `what` (name, dims, dim, bound, deviation, fill; where is filled in). Padding is zero and
   stays zero: its gradient is.  Local */
dx_error *dx_params_add(dx_params *p, const dx_param_entry *what, dx_param *out) DX_MUST_CHECK;
void dx_params_destroy(dx_params *p);
/* Starting values: parameter number i draws from the stream of step i, so they do
   not depend on anything but seed and order in the table.  w: floats long. */
void dx_params_start(const dx_params *p, uint64_t seed, float *w);

/* The random numbers of a training pass: example i of the pass is place[i] of the batch. */
typedef struct {
  uint64_t seed, step;
  const uint32_t *place;
} dx_draw;

typedef enum { DX_PASS_INFER, DX_PASS_TRAIN } dx_pass_kind; /* TRAIN has what backward needs */

/* All that one pass through the network may touch. Weights are read by many threads
   at once, gradients and work belong to one, or to one crew. */
typedef struct {
  const dx_kernels *kernel;
  const float *w;      /* all weights, dx_params.floats long */
  const float *packed; /* the model's own arrangement of them (dx_model.pack) */
  float *gw;           /* gradients, same length as w; added to, never overwritten */
  dx_arena *work;      /* scratch of this pass, with members as the crew has at most */
  dx_crew *crew;       /* who helps; NULL: nobody */
  const dx_draw *draw; /* NULL where nothing is random: evaluation, sampling */
  dx_profile *profile; /* NULL: nothing is measured */
} dx_pass;

/* Dropout by `chance`, rounded to 16 bits so that p = round(65536 chance) / 65536, as number `layer`
   (below 256) of the network's dropouts: false where nothing is dropped, as without p->draw. For
   example i of the pass ctr[1] is p->draw->place[i]. */
bool dx_drop_of(const dx_pass *p, uint32_t layer, double chance, dx_drop *out);
/* The same of x (B, n) in place; on gradients, its backward. */
void dx_dropout(const dx_pass *p, uint32_t layer, double chance, int64_t B, int64_t n, float *x);
/* y = a + b of n numbers, by the crew; y may be a. */
void dx_add(const dx_pass *p, int64_t n, const float *a, const float *b, float *y);
#endif
