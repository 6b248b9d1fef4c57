/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/grid.h - some of the steps 1..T, and the process that goes from one to the next.

   With steps t_1 < ... < t_n: beta'_i = 1 - abar_{t_i} / abar_{t_{i-1}}, abar_{t_0} = 1, so that abar'_i = abar_{t_i}; a network
   is given t_i itself. Nichol & Dhariwal 2021, section 4. */
#ifndef DX_DIFFUSION_GRID_H
#define DX_DIFFUSION_GRID_H
#include "diffusion/process.h"

typedef struct {
  int64_t steps, *t;  /* rising; row i of process belongs to t[i] */
  dx_process process;
} dx_grid;

/* Step i of n rising ones of T, evenly spaced from 1 to T, both visited, halves to the even row; one step alone is T. */
int64_t dx_grid_linspace(int64_t T, int64_t n, int64_t i);

/* The steps that counts ("none": all; a number; or numbers of steps in as many sections of equal length, "10,15,20") and spacing
   mean, into t (room for T); *n of them. DX_E_CONFIG without the key: "is 10,x; allowed: ...".
     sections  each section's ends and evenly between them (improved-diffusion's space_timesteps)
     linspace, leading (1, 1 + T/n, ...), trailing (T, T - T/n, ...)  of one number, as diffusers names them  */
dx_error *dx_grid_steps(const char *counts, const char *spacing, int64_t T, int64_t *t, int64_t *n) DX_MUST_CHECK;

/* The same with its process; variance fills its var, as in dx_process_create.  Local */
dx_error *dx_grid_create(const dx_process *p, const char *counts, const char *spacing, dx_variance variance,
                         dx_grid *out) DX_MUST_CHECK;
void dx_grid_destroy(dx_grid *g); /* NULL is fine */
#endif
