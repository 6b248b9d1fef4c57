/* SPDX-License-Identifier: Apache-2.0 */
/* config/keys.c - the flat list of an experiment's keys, each with its text and its place. */
#include "config/keys.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

dx_key *dx_keys_find(const dx_keys *keys, const char *key)
{
  for (int i = 0; i < keys->count; i++)
    if (!strcmp(keys->at[i].key, key)) return &keys->at[i];
  return NULL;
}

static void key_clear(dx_key *k)
{
  free(k->key);
  free(k->text);
  free(k->place);
  free(k->replaced);
}

static bool keys_grow(dx_keys *keys)
{
  const int room = keys->room ? 2 * keys->room : 64;
  dx_key *at = realloc(keys->at, (size_t)room * sizeof *at);

  if (!at) return false;
  keys->at = at;
  keys->room = room;
  return true;
}

bool dx_keys_add(dx_keys *keys, const char *key, const char *text, dx_key_kind kind, int64_t line)
{
  dx_key k = {.key = strdup(key), .text = strdup(text), .line = line, .kind = kind};

  k.place = line ? dx_text_format("%s:%" PRId64, keys->name, line) : strdup("command line");
  if (!k.key || !k.text || !k.place || (keys->count == keys->room && !keys_grow(keys))) {
    key_clear(&k);
    return false;
  }
  keys->at[keys->count++] = k;
  return true;
}

void dx_keys_cut(dx_keys *keys, int count)
{
  while (keys->count > count) key_clear(&keys->at[--keys->count]);
}

void dx_keys_settle(dx_keys *keys)
{
  dx_key *const last = &keys->at[keys->count - 1], *const old = dx_keys_find(keys, last->key);

  if (old == last) return;
  char **const text = old->line ? &old->text : &old->replaced;
  last->replaced = *text;
  *text = NULL;
  key_clear(old);
  memmove(old, old + 1, (size_t)(last - old) * sizeof *old);
  keys->count--;
}

const char *dx_keys_text(const dx_keys *keys, const char *key)
{
  const dx_key *k = dx_keys_find(keys, key);

  return k && k->kind != DX_KEY_NOTHING && k->kind != DX_KEY_SECTION ? k->text : NULL;
}

const char *dx_keys_place(const dx_keys *keys, const char *key)
{
  const dx_key *k = dx_keys_find(keys, key);

  return k ? k->place : "preset";
}

static dx_error *no_memory(void) { return DX_FAIL(INTERNAL, "out of memory while reporting a wrong key"); }

/* DX_E_CONFIG with a text of any length. */
__attribute__((format(printf, 1, 2))) static dx_error *text_error(const char *fmt, ...)
{
  dx_error *e;
  va_list ap;
  char *text;

  va_start(ap, fmt);
  text = dx_text_vformat(fmt, ap);
  va_end(ap);
  e = text ? dx_error_copy(DX_E_CONFIG, text) : no_memory();
  free(text);
  return e;
}

dx_error *dx_keys_wrong(const dx_keys *keys, const char *key, const char *fmt, ...)
{
  const dx_key *k = dx_keys_find(keys, key);
  dx_error *e = NULL;
  char *words;
  va_list ap;

  va_start(ap, fmt);
  words = dx_text_vformat(fmt, ap);
  va_end(ap);
  if (!words) return no_memory();
  e = text_error("%s: %s%s %s", k ? k->place : keys->name, key, k ? "" : " (preset)", words);
  free(words);
  return e;
}

dx_error *dx_keys_both(dx_error *a, dx_error *b)
{
  dx_error *both;

  if (!a || !b) return a ? a : b;
  both = text_error("%s\n%s", dx_error_text(a), dx_error_text(b));
  dx_error_free(a);
  dx_error_free(b);
  return both;
}

void dx_keys_destroy(dx_keys *keys)
{
  if (!keys) return;
  for (int i = 0; i < keys->count; i++) key_clear(&keys->at[i]);
  free(keys->at);
  free(keys->name);
  free(keys);
}
