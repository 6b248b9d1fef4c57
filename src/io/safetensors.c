/* SPDX-License-Identifier: Apache-2.0 */
/* io/safetensors.c - see safetensors.h. */
#include "io/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"

enum { LENGTH = 8 }; /* bytes of the header's length */

const char *dx_tensor_shape(int dims, const int64_t *dim, char words[DX_TENSOR_SHAPE])
{
  int at = snprintf(words, DX_TENSOR_SHAPE, "[");

  for (int i = 0; i < dims; i++)
    at += snprintf(words + at, DX_TENSOR_SHAPE - (size_t)at, i ? ", %" PRId64 : "%" PRId64, dim[i]);
  snprintf(words + at, DX_TENSOR_SHAPE - (size_t)at, "]");
  return words;
}

/* --- writing ---------------------------------------------------------------- */

/* Length and header, filled up with blanks so that the data begin at a multiple of 8. */
static void put_header(FILE *to, const dx_tensor_out *t, int64_t count)
{
  char shape[DX_TENSOR_SHAPE];
  int64_t at = 0;

  fprintf(to, "%8s{\"__metadata__\":{\"format\":\"pt\"}", "");
  for (int64_t i = 0; i < count; i++) {
    const int64_t end = at + 4 * t[i].n;

    fprintf(to, ",\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", t[i].name,
            dx_tensor_shape(t[i].dims, t[i].dim, shape), at, end);
    at = end;
  }
  fputc('}', to);
  while (ftell(to) % 8) fputc(' ', to);
}

dx_error *dx_safetensors_write(const char *path, const dx_tensor_out *t, int64_t count)
{
  char *bytes = NULL;
  size_t size = 0;
  FILE *const to = open_memstream(&bytes, &size);
  dx_error *err;

  if (!to) return DX_FAIL(INTERNAL, "no memory for %s", path);
  put_header(to, t, count);
  const int64_t header = ftell(to) - LENGTH;
  for (int64_t i = 0; i < count; i++) fwrite(t[i].data, sizeof(float), (size_t)t[i].n, to);
  const bool bad = ferror(to), worse = fclose(to) != 0;
  if (bad || worse) err = DX_FAIL(INTERNAL, "no memory for %s", path);
  else {
    for (int i = 0; i < LENGTH; i++) bytes[i] = (char)(header >> 8 * i & 0xFF);
    err = dx_file_write_atomic(path, bytes, size);
  }
  free(bytes);
  return err;
}

/* --- reading ---------------------------------------------------------------- */

void dx_safetensors_free(dx_safetensors *f)
{
  for (int64_t i = 0; i < f->count; i++) free(f->tensor[i].name);
  free(f->tensor);
  free(f->path);
  free(f->bytes);
  *f = (dx_safetensors){0};
}

const dx_tensor *dx_safetensors_find(const dx_safetensors *f, const char *name)
{
  for (int64_t i = 0; i < f->count; i++)
    if (!strcmp(f->tensor[i].name, name)) return &f->tensor[i];
  return NULL;
}

static float of_word(uint32_t word)
{
  float x;

  memcpy(&x, &word, sizeof x);
  return x;
}

/* Every half-precision number is one in single precision: fraction x 2^(exponent - 25). */
static float from_half(uint16_t h)
{
  const uint32_t exponent = h >> 10 & 31, fraction = h & 1023;
  const float unit = of_word((exponent ? exponent + 102 : 103) << 23);
  const float size = exponent == 31 ? (fraction ? NAN : INFINITY) : (float)(exponent ? 1024 + fraction : fraction) * unit;

  return h >> 15 ? -size : size;
}

dx_error *dx_safetensors_floats(const dx_safetensors *f, const dx_tensor *t, float *out)
{
  const char *const from = f->bytes + f->data + t->at;
  const bool whole = !strcmp(t->type, "F32"), brain = !strcmp(t->type, "BF16");
  const int64_t n = (t->end - t->at) / (whole ? 4 : 2);

  if (!whole && !brain && strcmp(t->type, "F16"))
    return DX_FAIL(DATA, "%s: %s has type %s; allowed: F32, F16, BF16", f->path, t->name, t->type);
  if (whole) memcpy(out, from, (size_t)n * sizeof *out);
  for (int64_t i = 0; i < n; i++) {
    uint16_t h;

    if (!whole) {
      memcpy(&h, from + 2 * i, sizeof h);
      out[i] = brain ? of_word((uint32_t)h << 16) : from_half(h);
    }
    if (!isfinite(out[i]))
      return DX_FAIL(DATA, "%s: %s has %g at place %" PRId64 "; allowed: finite numbers", f->path, t->name, (double)out[i], i);
  }
  return NULL;
}

#ifdef DX_JANSSON
static const struct { const char *name; int bytes; } types[] = {
  {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"BOOL", 1}, {"U8", 1}, {"I8", 1}, {"F8_E5M2", 1}, {"F8_E4M3", 1},
  {"I16", 2}, {"U16", 2}, {"I32", 4}, {"U32", 4}, {"I64", 8}, {"U64", 8},
};

static dx_error *take_shape(const dx_safetensors *f, const dx_json *shape, dx_tensor *t, int64_t *numbers)
{
  char shown[DX_SHOWN];
  bool good = dx_json_is_list(shape) && dx_json_count(shape) <= DX_TENSOR_DIMS;

  *numbers = 1;
  t->dims = good ? (int)dx_json_count(shape) : 0;
  for (int i = 0; i < t->dims; i++)
    good = good && dx_json_int(dx_json_item(shape, i), &t->dim[i]) && t->dim[i] >= 0 &&
           !__builtin_mul_overflow(*numbers, t->dim[i], numbers);
  if (good) return NULL;
  return DX_FAIL(DATA, "%s: %s has the shape %s; allowed: a list of up to %d whole numbers from 0", f->path, t->name,
                 shape ? dx_json_show(shape, shown) : "(none)", DX_TENSOR_DIMS);
}

/* Type, shape and place of one tensor as the header tells them, each by itself. */
static dx_error *take_tensor(const dx_safetensors *f, int64_t room, const dx_json *v, dx_tensor *t)
{
  const char *const type = dx_json_text(dx_json_at(v, "dtype"));
  const dx_json *const place = dx_json_at(v, "data_offsets");
  int64_t numbers, bytes, wanted = 0;
  char shown[DX_SHOWN], shape[DX_TENSOR_SHAPE];

  if (!type) return DX_FAIL(DATA, "%s: %s has no dtype", f->path, t->name);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(type, types[i].name)) wanted = types[i].bytes;
  if (!wanted) return DX_FAIL(DATA, "%s: %s has type %s; allowed: F32, F16, BF16", f->path, t->name, dx_text_show(type, shown));
  snprintf(t->type, sizeof t->type, "%s", type);
  DX_TRY(take_shape(f, dx_json_at(v, "shape"), t, &numbers));
  if (dx_json_count(place) != 2 || !dx_json_int(dx_json_item(place, 0), &t->at) || !dx_json_int(dx_json_item(place, 1), &t->end))
    return DX_FAIL(DATA, "%s: %s has data_offsets %s; allowed: two whole numbers", f->path, t->name,
                   place ? dx_json_show(place, shown) : "(none)");
  if (t->at < 0 || t->end < t->at || t->end > room)
    return DX_FAIL(DATA, "%s: %s stands at bytes %" PRId64 " to %" PRId64 " of the data; allowed: within 0 to %" PRId64
                   ", the bytes behind the header", f->path, t->name, t->at, t->end, room);
  if (__builtin_mul_overflow(numbers, wanted, &bytes) || bytes != t->end - t->at)
    return DX_FAIL(DATA, "%s: %s fills %" PRId64 " bytes; its shape %s of %s asks for another number", f->path, t->name,
                   t->end - t->at, dx_tensor_shape(t->dims, t->dim, shape), t->type);
  return NULL;
}

static int by_place(const void *a, const void *b)
{
  const dx_tensor *const x = a, *const y = b;

  if (x->at != y->at) return x->at < y->at ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

/* The tensors lie one behind the other, from the first byte to the last. */
static dx_error *check_places(dx_safetensors *f, int64_t room)
{
  int64_t at = 0;

  qsort(f->tensor, (size_t)f->count, sizeof *f->tensor, by_place);
  for (int64_t i = 0; i < f->count; i++) {
    const dx_tensor *const t = &f->tensor[i];

    if (t->at < at)
      return DX_FAIL(DATA, "%s: %s begins at byte %" PRId64 " of the data, within %s, which ends at %" PRId64, f->path,
                     t->name, t->at, f->tensor[i - 1].name, at);
    if (t->at > at)
      return DX_FAIL(DATA, "%s: bytes %" PRId64 " to %" PRId64 " of the data, before %s, belong to no tensor", f->path, at,
                     t->at, t->name);
    at = t->end;
  }
  if (at != room)
    return DX_FAIL(DATA, "%s: the last %" PRId64 " of %" PRId64 " bytes of the data belong to no tensor", f->path, room - at, room);
  return NULL;
}

static dx_error *take_header(dx_safetensors *f, const dx_json *header, int64_t room)
{
  const dx_json *v;
  const char *name;

  f->tensor = calloc((size_t)dx_json_count(header) + 1, sizeof *f->tensor);
  if (!f->tensor) return DX_FAIL(INTERNAL, "no memory for %s", f->path);
  for (void *at = NULL; (at = dx_json_next(header, at, &name, &v));) {
    if (!strcmp(name, "__metadata__")) continue;
    dx_tensor *const t = &f->tensor[f->count];
    if (!(t->name = strdup(name))) return DX_FAIL(INTERNAL, "no memory for %s", f->path);
    f->count++;
    DX_TRY(take_tensor(f, room, v, t));
  }
  return check_places(f, room);
}

static dx_error *take_file(dx_safetensors *f, const char *path, dx_json **header)
{
  const size_t limit = SIZE_MAX >> 2;
  size_t size;
  uint64_t length = 0;

  if (!(f->path = strdup(path))) return DX_FAIL(INTERNAL, "no memory for %s", path);
  DX_TRY(dx_file_read(path, limit, &f->bytes, &size));
  if (size < LENGTH) return DX_FAIL(DATA, "%s has %zu bytes; a safetensors file begins with the 8 of its header's length", path, size);
  for (int i = 0; i < LENGTH; i++) length |= (uint64_t)(unsigned char)f->bytes[i] << 8 * i;
  if (length > size - LENGTH)
    return DX_FAIL(DATA, "%s: its header is %" PRIu64 " bytes long by its first 8 bytes; allowed: up to %zu, what the file has behind them",
                   path, length, size - LENGTH);
  f->data = LENGTH + (size_t)length;
  DX_TRY(dx_error_in(dx_json_parse("its header", f->bytes + LENGTH, (size_t)length, header), "%s", path));
  return take_header(f, *header, (int64_t)(size - f->data));
}

dx_error *dx_safetensors_read(const char *path, dx_safetensors *out)
{
  dx_json *header = NULL;
  dx_error *err;

  *out = (dx_safetensors){0};
  err = take_file(out, path, &header);
  dx_json_free(header);
  if (err) dx_safetensors_free(out);
  return err;
}
#endif
