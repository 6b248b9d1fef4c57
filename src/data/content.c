/* SPDX-License-Identifier: Apache-2.0 */
/* data/content.c - what must hold of rows, and their hash; see inside.h. */
#include "data/inside.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

/* The first number of a row that must not be there, or -1. */
static int64_t wrong_number(const dx_dataset_info *info, const float *x, int64_t dim)
{
  const double lo = info->has_range ? info->lo : -INFINITY, hi = info->has_range ? info->hi : INFINITY;

  for (int64_t k = 0; k < dim; k++)
    if (!isfinite(x[k]) || x[k] < lo || x[k] > hi) return k;
  return -1;
}

static dx_error *wrong_words(const dx_dataset_info *info, dx_split split, int64_t row, int64_t at,
                             double x)
{
  const char *set = dx_split_name[split];

  if (!isfinite(x))
    return DX_FAIL(DATA, "%s: /%s/x has %s in row %lld (number %lld of the row)", info->name, set,
                   isnan(x) ? "NaN" : "an infinity", (long long)row, (long long)at);
  return DX_FAIL(DATA, "%s: /%s/x has %g in row %lld, outside the declared range %g to %g",
                 info->name, set, x, (long long)row, info->lo, info->hi);
}

dx_error *dx_content_check(const dx_dataset_info *info, dx_split split, int64_t first, int64_t n,
                           const void *rows, const int32_t *label)
{
  const int64_t dim = dx_shape_dim(info->sample);

  for (int64_t i = 0; i < n && info->raw == DX_RAW_F32; i++) {
    const float *x = (const float *)rows + i * dim;
    const int64_t at = wrong_number(info, x, dim);

    if (at >= 0) return wrong_words(info, split, first + i, at, x[at]);
  }
  for (int64_t i = 0; i < n && info->classes > 0; i++)
    if (label[i] < 0 || label[i] >= info->classes)
      return DX_FAIL(DATA, "%s: /%s/label has %d in row %lld; allowed: 0 to %lld", info->name,
                     dx_split_name[split], (int)label[i], (long long)(first + i),
                     (long long)info->classes - 1);
  return NULL;
}

uint64_t dx_content_sum(const dx_dataset_info *info, dx_split split, int64_t first, int64_t n,
                        const void *rows, const int32_t *label)
{
  const size_t size = (size_t)dx_row_bytes(info);
  uint64_t sum = 0;

  for (int64_t i = 0; i < n; i++) {
    const uint64_t place = (uint64_t)(first + i) * DX_SPLITS + split;
    uint64_t h = dx_hash((const char *)rows + (size_t)i * size, size, place);

    if (info->classes > 0) h = dx_hash(&label[i], sizeof label[i], h);
    sum += h;
  }
  return sum;
}

uint64_t dx_content_hash(const dx_dataset_info *info, uint64_t sum)
{
  const int64_t whole[] = {info->sample.h, info->sample.w, info->sample.c, info->raw,
                           info->count[DX_TRAIN], info->count[DX_TEST], info->has_range,
                           info->classes};
  const double real[] = {info->shift, info->scale, info->has_range ? info->lo : 0,
                         info->has_range ? info->hi : 0};

  sum = dx_hash(whole, sizeof whole, sum);
  sum = dx_hash(real, sizeof real, sum);
  return dx_hash(info->modality, strlen(info->modality), sum);
}
