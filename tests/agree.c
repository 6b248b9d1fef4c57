/* SPDX-License-Identifier: Apache-2.0 */
/* One rank fails, all hear of it, in its words; nobody hangs. */
#include "comm/comm.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
  dx_comm *c;
  int64_t bad = 0;

  if (dx_comm_start(&argc, &argv, &c)) return 99;
  const int rank = dx_comm_rank(c), size = dx_comm_size(c);
  dx_error *none = dx_comm_agree(c, NULL);

  if (none) bad++;
  dx_error_free(none);
  for (int who = 0; who < size; who++) {
    dx_error *e = dx_comm_agree(c, rank >= who ? DX_FAIL(IO, "cannot open a%d.h5", rank) : NULL);
    char text[64];

    snprintf(text, sizeof text, who ? "rank %d: cannot open a%d.h5" : "cannot open a%d.h5", who, who);
    if (!e || dx_error_code(e) != DX_E_IO || strncmp(dx_error_text(e), text, strlen(text))) bad++;
    dx_error_free(e);
  }
  char *text = rank == 0 ? strdup("as rank 0 says") : NULL;
  dx_error *e = dx_comm_broadcast_text(c, &text);
  if (e || !text || strcmp(text, "as rank 0 says")) bad++;
  dx_error_free(e);
  free(text);
  bad = dx_comm_max_i64(c, bad);
  if (rank == 0) ok(bad == 0, "the lowest failing rank's words reach all %d ranks", size);
  bad = rank == 0 ? done() : 0;
  dx_comm_stop(c);
  return (int)bad;
}
