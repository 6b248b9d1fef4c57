/* SPDX-License-Identifier: Apache-2.0 */
/* base/profile.c - see profile.h. Some hundred rows and calls of milliseconds: a plain search will do. */
#include "base/profile.h"

#include <stddef.h>

#include "base/clock.h"

double dx_profile_begin(const dx_profile *p) { return p ? dx_clock() : 0; }

/* The row of that layer and direction, new if need be; NULL: there is no room. */
static dx_profile_row *row_of(dx_profile *p, const dx_profile_row *r)
{
  for (int i = 0; i < p->rows; i++)
    if (p->row[i].kind == r->kind && p->row[i].at == r->at && p->row[i].backward == r->backward) return &p->row[i];
  if (p->rows == DX_PROFILE_ROOM) return NULL;
  p->row[p->rows] = (dx_profile_row){.kind = r->kind, .at = r->at, .backward = r->backward};
  return &p->row[p->rows++];
}

void dx_profile_add(dx_profile *p, const dx_profile_row *r)
{
  dx_profile_row *const to = row_of(p, r);

  if (!to) {
    p->lost++;
    return;
  }
  to->flops += r->flops;
  to->bytes += r->bytes;
  to->calls += r->calls;
  to->seconds += r->seconds;
}

void dx_profile_end(dx_profile *p, dx_profile_row call, double begin)
{
  if (!p) return;
  call.calls = 1;
  call.seconds = (dx_clock() - begin) * (p->members > 1 ? p->members : 1);
  dx_profile_add(p, &call);
}
