/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule.c - the list of schedules. */
#include "diffusion/schedule.h"

#include <string.h>

/* The list is read twice: to declare, to collect. */
#define DX_SCHEDULE(name) extern const dx_schedule dx_schedule_##name;
#include "diffusion/schedules.def"
#undef DX_SCHEDULE

static const dx_schedule *const all[] = {
#define DX_SCHEDULE(name) &dx_schedule_##name,
#include "diffusion/schedules.def"
#undef DX_SCHEDULE
};
enum { COUNT = sizeof all / sizeof *all };

const dx_schedule *dx_schedule_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i]->name, name)) return all[i];
  return NULL;
}

const dx_schedule *dx_schedule_at(int i) { return i >= 0 && i < COUNT ? all[i] : NULL; }
