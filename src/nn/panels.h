/* SPDX-License-Identifier: Apache-2.0 */
/* nn/panels.h - products with weights that are packed once per step.
   B (k,n) stands as panels of DX_PANEL columns, as kernel.h says. */
#ifndef DX_NN_PANELS_H
#define DX_NN_PANELS_H
#include "kernel/kernel.h"

/* Panels of n columns, and floats of a packed matrix. */
static inline int64_t dx_panels_in(int64_t n) { return (n + DX_PANEL - 1) / DX_PANEL; }
static inline int64_t dx_panels_size(int64_t n, int64_t k) { return dx_panels_in(n) * DX_PANEL * k; }
/* B into panels, from B (k,n) or from its transpose (n,k). */
void dx_panels_pack(int64_t n, int64_t k, const float *b, float *panels);
void dx_panels_pack_turned(const dx_kernels *kernel, int64_t n, int64_t k, const float *bt, float *panels);
/* C (m,n) = A (m,k) B, as dx_kernels.gemm: a row's bits do not depend on the other rows. Rows of A and C
   are ra and rc floats apart. */
void dx_panels_gemm(const dx_kernels *kernel, int64_t m, int64_t n, int64_t k, const float *a, int64_t ra,
                    const float *panels, float *c, int64_t rc, const float *bias, dx_gemm_mode mode);
/* C (m,n) = A B of packed A (m,k) and B (k,n). */
void dx_panels_gemm_both(const dx_kernels *kernel, int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c,
                         int64_t rc);
#endif
