/* SPDX-License-Identifier: Apache-2.0 */
/* nn/panels.c - see panels.h. */
#include "nn/panels.h"

#include <assert.h>
#include <string.h>

#include "base/share.h"

/* Rows of A that stay in the cache while all panels pass: up to 256 KiB, in sixty-fours, which sets of kernels take at a time;
   but no more than 256 rows, for those of C stay there, too, and no fewer than 96. */
static int64_t rows_of(int64_t k)
{
  assert(k > 0);
  const int64_t rows = 65536 / k / 64 * 64;

  return rows < 96 ? 96 : dx_min(256, rows);
}

void dx_panels_pack(int64_t n, int64_t k, const float *b, float *panels)
{
  for (int64_t j = 0; j < n; j += DX_PANEL, panels += k * DX_PANEL) {
    const int64_t width = dx_min(DX_PANEL, n - j);

    for (int64_t l = 0; l < k; l++) memcpy(panels + l * DX_PANEL, b + l * n + j, (size_t)width * sizeof *b);
  }
}

void dx_panels_pack_turned(const dx_kernels *kernel, int64_t n, int64_t k, const float *bt, float *panels)
{
  for (int64_t j = 0; j < n; j += DX_PANEL, panels += k * DX_PANEL)
    kernel->transpose(dx_min(DX_PANEL, n - j), k, bt + j * k, k, panels, DX_PANEL);
}

void dx_panels_gemm(const dx_kernels *kernel, int64_t m, int64_t n, int64_t k, const float *a, int64_t ra,
                    const float *panels, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  const int64_t rows = rows_of(k);

  for (int64_t i = 0; i < m; i += rows)
    kernel->gemm_packed(dx_min(rows, m - i), n, k, a + i * ra, ra, panels, c + i * rc, rc, bias, mode);
}

void dx_panels_gemm_both(const dx_kernels *kernel, int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c,
                         int64_t rc)
{
  const int64_t rows = rows_of(k);

  for (int64_t i = 0; i < m; i += rows)
    kernel->gemm_packed_a(dx_min(rows, m - i), n, k, a + i * DX_PANEL, m * DX_PANEL, b, 0, c + i * rc, rc, DX_GEMM_SET);
}
