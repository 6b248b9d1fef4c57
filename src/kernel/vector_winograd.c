/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector_winograd.c - Winograd's transforms for vectors of 8 and of 16 floats: see vector.h. */
#include "kernel/vector.h"

#include "kernel/winograd.h"

void FILL_WINOGRAD(dx_kernels *k)
{
  k->winograd_v = winograd_v;
  k->winograd_y = winograd_y;
  k->winograd_z = winograd_z;
  k->winograd_gx = winograd_gx;
  k->winograd_u = winograd_u;
  k->winograd_gw = winograd_gw;
}
