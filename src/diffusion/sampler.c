/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler.c - the list of samplers. */
#include "diffusion/sampler.h"

#include <string.h>

/* The list is read twice: to declare, to collect. */
#define DX_SAMPLER(name) extern const dx_sampler dx_sampler_##name;
#include "diffusion/samplers.def"
#undef DX_SAMPLER

static const dx_sampler *const all[] = {
#define DX_SAMPLER(name) &dx_sampler_##name,
#include "diffusion/samplers.def"
#undef DX_SAMPLER
};
enum { COUNT = sizeof all / sizeof *all };

const dx_sampler *dx_sampler_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i]->name, name)) return all[i];
  return NULL;
}

const dx_sampler *dx_sampler_at(int i) { return i >= 0 && i < COUNT ? all[i] : NULL; }
