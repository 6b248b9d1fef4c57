/* SPDX-License-Identifier: Apache-2.0 */
/* io/json.h - values of a JSON text, through jansson; a build without it has none of these. All Local. */
#ifndef DX_IO_JSON_H
#define DX_IO_JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/option.h"

typedef struct json_t dx_json; /* a value, owned by the object that holds it */

/* The object that text is, without a key twice; DX_E_DATA with line and column. name stands in messages.
   Freed by the caller. */
dx_error *dx_json_parse(const char *name, const char *text, size_t size, dx_json **out) DX_MUST_CHECK;
void dx_json_free(dx_json *object); /* NULL is fine */

/* Of the member of that name, NULL where there is none; of place i of a list, NULL past its end and where v is no list. */
const dx_json *dx_json_at(const dx_json *object, const char *key);
const dx_json *dx_json_item(const dx_json *v, int64_t i);
/* Name and value of the next member; at is NULL at first and then what the last call gave, which is NULL at the end. */
void *dx_json_next(const dx_json *object, void *at, const char **key, const dx_json **v);

int64_t dx_json_count(const dx_json *v); /* items of a list, members of an object, else -1 */
bool dx_json_is_list(const dx_json *v);
bool dx_json_is_null(const dx_json *v);
/* false where v is of another kind; 2.0 is a whole number, too. */
bool dx_json_int(const dx_json *v, int64_t *out);
bool dx_json_real(const dx_json *v, double *out);
bool dx_json_bool(const dx_json *v, bool *out);
const char *dx_json_text(const dx_json *v); /* NULL where v is no text */

/* v as messages show it. */
const char *dx_json_show(const dx_json *v, char shown[DX_SHOWN]);
#endif
