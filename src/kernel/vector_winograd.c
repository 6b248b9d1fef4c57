/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector_winograd.c - Winograd's transforms for vectors of 8 and of 16 floats: see vector.h. */
#include "kernel/vector.h"

#include "kernel/winograd.h"

/* U of a whole line of channels, past the caches. */
INLINE void stream_u(const float *w, int64_t tap, float *u, int64_t slice)
{
  vec e[LINE / W][18], o[LINE / W][6];

  UNROLL
  for (int v = 0; v < LINE / W; v++) g_w(w, tap, v * W, 0, first_lanes(0), e[v]);
  UNROLL
  for (int i = 0; i < 6; i++) {
    UNROLL
    for (int v = 0; v < LINE / W; v++) times_g(e[v] + 3 * i, 1, o[v], 1);
    UNROLL
    for (int j = 0; j < 6; j++)
      UNROLL
      for (int v = 0; v < LINE / W; v++) stream(u + (6 * i + j) * slice + v * W, o[v][j]);
  }
}

/* There is much more of U than the caches hold, and a line that is written as a whole need not be read first. */
static void winograd_u_lines(int64_t rows, int64_t n, const float *w, int64_t row_w, int64_t tap, float *u, int64_t slice)
{
  if ((uintptr_t)u % (LINE * sizeof *u) || slice % LINE || n % LINE) {
    winograd_u(rows, n, w, row_w, tap, u, slice);
    return;
  }
  for (int64_t i = 0; i < rows; i++)
    for (int64_t ch = 0; ch < n; ch += LINE) stream_u(w + i * row_w + ch, tap, u + i * n + ch, slice);
  stream_end();
}

void FILL_WINOGRAD(dx_kernels *k)
{
  k->winograd_v = winograd_v;
  k->winograd_y = winograd_y;
  k->winograd_z = winograd_z;
  k->winograd_gx = winograd_gx;
  k->winograd_u = winograd_u_lines;
  k->winograd_gw = winograd_gw;
}
