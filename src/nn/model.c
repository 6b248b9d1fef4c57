/* SPDX-License-Identifier: Apache-2.0 */
/* nn/model.c - the list of models. */
#include "nn/model.h"

#include <string.h>

#define DX_MODEL(name) extern const dx_model dx_model_##name;
#include "nn/models.def"
#undef DX_MODEL

static const dx_model *const all[] = {
#define DX_MODEL(name) &dx_model_##name,
#include "nn/models.def"
#undef DX_MODEL
};

const dx_model *dx_model_at(int i)
{
  return i >= 0 && (size_t)i < sizeof all / sizeof *all ? all[i] : NULL;
}

const dx_model *dx_model_find(const char *name)
{
  for (int i = 0; dx_model_at(i); i++)
    if (!strcmp(all[i]->name, name)) return all[i];
  return NULL;
}

int64_t dx_model_classes(const dx_model *m, const void *config)
{
  const dx_option *const o = dx_option_find(m->options, "classes");

  return o ? *(const int64_t *)((const char *)config + o->at) : 0;
}
