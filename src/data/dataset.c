/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset.c - the kinds of data, opening one, and its units; see dataset.h. */
#include "data/inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *const dx_split_name[DX_SPLITS] = {"train", "test"};

/* "|file|gaussian": the list itself. */
static const char kind_names[] =
#define DX_SOURCE(id, name) "|" name
#include "data/datasets.def"
#undef DX_SOURCE
  ;

const dx_option dx_data_options[] = {
  DX_OPTION(dx_data_config, kind, "file", 0, 0, "what the samples are: a procedural set (diffx list), or file",
            .choices = kind_names + 1,
            .elsewhere = "cifar10=file|cifar=file|mnist=file|fashion-mnist=file|imagenet=file"),
  DX_OPTION(dx_data_config, flip, "false", 0, 0, "mirror half of the training images, left to right, at random"),
  DX_OPTION(dx_data_config, memory, "none", 0, 1e18,
            "bytes of samples that one rank may hold; above, they are read from the file in blocks",
            .words = "none=0", .role = DX_RUN),
  DX_OPTION_END
};

#define DX_SOURCE(id, name) extern const dx_source dx_source_##id;
#include "data/datasets.def"
#undef DX_SOURCE

static const dx_source *const all[] = {
#define DX_SOURCE(id, name) &dx_source_##id,
#include "data/datasets.def"
#undef DX_SOURCE
};

const dx_source *dx_source_at(int i)
{
  return i >= 0 && (size_t)i < sizeof all / sizeof *all ? all[i] : NULL;
}

const dx_source *dx_source_find(const char *name)
{
  for (int i = 0; dx_source_at(i); i++)
    if (!strcmp(all[i]->name, name)) return all[i];
  return NULL;
}

static void share(const dx_dataset *d, dx_split split, int64_t *first, int64_t *count)
{
  const int64_t n = d->info.count[split], ranks = dx_comm_size(d->comm), me = dx_comm_rank(d->comm);

  *first = dx_share_first(n, ranks, me);
  *count = dx_share_first(n, ranks, me + 1) - *first;
}

/* This rank's shares of all splits, each with its part of the memory. Local */
static dx_error *load(dx_dataset *d, double memory, uint64_t *hash)
{
  const double row = (double)dx_row_bytes(&d->info) + (d->info.classes > 0 ? 4 : 0);
  double total = 0;

  for (int s = 0; s < DX_SPLITS; s++) {
    int64_t first, count;

    share(d, (dx_split)s, &first, &count);
    total += (double)count * row;
  }
  for (int s = 0; s < DX_SPLITS; s++) {
    dx_store_plan plan = {.source = d->source, .state = d->state, .info = &d->info,
                          .split = (dx_split)s, .budget = -1};

    share(d, plan.split, &plan.first, &plan.count);
    if (memory > 0 && total > memory)
      plan.budget = (int64_t)(memory * ((double)plan.count * row / total));
    DX_TRY(dx_store_create(&plan, hash, &d->store[s]));
  }
  return NULL;
}

dx_error *dx_dataset_open(const dx_data_config *common, const void *kind_config, const dx_comm *c,
                          dx_dataset **out)
{
  dx_dataset *d = calloc(1, sizeof *d);
  uint64_t sum = 0;
  dx_error *e = d ? NULL : DX_FAIL(INTERNAL, "out of memory");

  e = dx_comm_agree(c, e);
  if (e) goto out;
  d->comm = c;
  d->source = dx_source_find(common->kind);
  assert(d->source); /* the options have no other kind */
  DX_TRY_GOTO(e, out, d->source->open(kind_config, c, &d->info, &d->state));
  DX_TRY_GOTO(e, out, dx_comm_agree(c, load(d, common->memory, &sum)));
  d->info.hash = dx_content_hash(&d->info, dx_comm_sum_u64(c, sum));
out:
  if (e) dx_dataset_close(d);
  else *out = d;
  return e;
}

void dx_dataset_close(dx_dataset *d)
{
  if (!d) return;
  for (int s = 0; s < DX_SPLITS; s++) dx_store_destroy(d->store[s]);
  if (d->state) d->source->close(d->state);
  free(d);
}

dx_error *dx_dataset_class_names(const dx_dataset *d, char **text)
{
  *text = NULL;
  return d->source->class_names && d->info.classes > 0 ? d->source->class_names(d->state, text) : NULL;
}

const dx_dataset_info *dx_dataset_info_of(const dx_dataset *d) { return &d->info; }

int64_t dx_dataset_bytes_held(const dx_dataset *d)
{
  int64_t n = 0;

  for (int s = 0; s < DX_SPLITS; s++) n += dx_store_bytes(d->store[s]);
  return n;
}

void dx_dataset_normalise(const dx_dataset_info *info, int64_t n, const void *raw, float *out)
{
  const int64_t count = n * dx_shape_dim(info->sample);
  const double shift = info->shift, scale = info->scale;

  if (info->raw == DX_RAW_U8) {
    const uint8_t *x = raw;
    float value[256]; /* each of the 256 values once */

    for (int i = 0; i < 256; i++) value[i] = (float)((i - shift) / scale);
    for (int64_t i = 0; i < count; i++) out[i] = value[x[i]];
  } else {
    const float *x = raw;

    for (int64_t i = 0; i < count; i++) out[i] = (float)((x[i] - shift) / scale);
  }
}

void dx_dataset_restore(const dx_dataset_info *info, int64_t n, float *x)
{
  const int64_t count = n * dx_shape_dim(info->sample);

  for (int64_t i = 0; i < count; i++) x[i] = (float)(x[i] * info->scale + info->shift);
}

void dx_dataset_shade(const dx_dataset_info *info, int64_t n, const float *x, uint8_t *y)
{
  const double lo = info->has_range ? info->lo : info->shift - 2.5 * info->scale;
  const double hi = info->has_range ? info->hi : info->shift + 2.5 * info->scale;

  for (int64_t i = 0; i < n; i++) {
    const double v = 255 * (x[i] - lo) / (hi - lo);

    y[i] = v > 0 ? (uint8_t)((v < 255 ? v : 255) + 0.5) : 0;
  }
}

void dx_dataset_flip(const dx_dataset_info *info, float *x)
{
  const dx_shape s = info->sample;

  for (int64_t i = 0; i < s.h; i++, x += s.w * s.c)
    for (int64_t a = 0, b = s.w - 1; a < b; a++, b--)
      for (int64_t k = 0; k < s.c; k++) {
        const float left = x[a * s.c + k];

        x[a * s.c + k] = x[b * s.c + k];
        x[b * s.c + k] = left;
      }
}
