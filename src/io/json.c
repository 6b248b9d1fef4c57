/* SPDX-License-Identifier: Apache-2.0 */
/* io/json.c - see json.h. */
#include "io/json.h"

#ifdef DX_JANSSON
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

dx_error *dx_json_parse(const char *name, const char *text, size_t size, dx_json **out)
{
  json_error_t why;
  json_t *const v = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);

  if (!v) return DX_FAIL(DATA, "%s:%d:%d: not JSON: %s", name, why.line, why.column, why.text);
  if (!json_is_object(v)) {
    json_decref(v);
    return DX_FAIL(DATA, "%s: not a JSON object", name);
  }
  *out = v;
  return NULL;
}

void dx_json_free(dx_json *object) { json_decref(object); }

const dx_json *dx_json_at(const dx_json *object, const char *key) { return json_object_get(object, key); }

const dx_json *dx_json_item(const dx_json *v, int64_t i) { return json_array_get(v, (size_t)i); }

void *dx_json_next(const dx_json *object, void *at, const char **key, const dx_json **v)
{
  json_t *const o = (json_t *)(uintptr_t)object; /* jansson's iterators are not const */

  at = at ? json_object_iter_next(o, at) : json_object_iter(o);
  if (!at) return NULL;
  *key = json_object_iter_key(at);
  *v = json_object_iter_value(at);
  return at;
}

int64_t dx_json_count(const dx_json *v)
{
  return json_is_array(v) ? (int64_t)json_array_size(v) : json_is_object(v) ? (int64_t)json_object_size(v) : -1;
}

bool dx_json_is_list(const dx_json *v) { return json_is_array(v); }
bool dx_json_is_null(const dx_json *v) { return json_is_null(v); }

bool dx_json_int(const dx_json *v, int64_t *out)
{
  const double x = json_is_real(v) ? json_real_value(v) : 0.5;

  if (json_is_integer(v)) *out = json_integer_value(v);
  else if (x == floor(x) && fabs(x) < 0x1p53) *out = (int64_t)x;
  else return false;
  return true;
}

bool dx_json_real(const dx_json *v, double *out)
{
  if (json_is_number(v)) *out = json_number_value(v);
  return json_is_number(v);
}

bool dx_json_bool(const dx_json *v, bool *out)
{
  if (json_is_boolean(v)) *out = json_is_true(v);
  return json_is_boolean(v);
}

const char *dx_json_text(const dx_json *v) { return json_string_value(v); }

const char *dx_json_show(const dx_json *v, char shown[DX_SHOWN])
{
  char *const text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

  dx_text_show(text ? text : "?", shown);
  free(text);
  return shown;
}
#endif
