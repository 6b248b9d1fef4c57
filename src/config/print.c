/* SPDX-License-Identifier: Apache-2.0 */
/* config/print.c - structs back into YAML text, and what differs between two such texts. */
#include "config/keys.h"

#include <stdlib.h>
#include <string.h>

static dx_error *no_memory(void) { return DX_FAIL(INTERNAL, "out of memory while printing an experiment"); }

/* One line, "  rate: 0.001". */
static bool put_option(FILE *to, const dx_section *s, const dx_option *o)
{
  const int length = dx_option_print(o, s->into, NULL, 0);
  char *text = malloc((size_t)length + 1);

  if (!text) return false;
  dx_option_print(o, s->into, text, (size_t)length + 1);
  fprintf(to, "%s%s: ", *s->prefix ? "  " : "", o->key);
  if (o->type == DX_TEXT) dx_yaml_write(to, text);
  else fputs(text, to);
  fputc('\n', to);
  free(text);
  return true;
}

/* All chosen sections of one prefix under one head. */
static bool put_prefix(FILE *to, const dx_section *sections, int count, const char *prefix, unsigned roles)
{
  bool head = *prefix == '\0';

  for (int i = 0; i < count; i++) {
    const dx_section *s = &sections[i];

    if (!s->into || strcmp(s->prefix, prefix) != 0) continue;
    for (const dx_option *o = s->options; o->key; o++) {
      if (!(roles & 1u << o->role)) continue;
      if (!head) fprintf(to, "%s:\n", prefix);
      head = true;
      if (!put_option(to, s, o)) return false;
    }
  }
  return true;
}

static bool is_first_of_prefix(const dx_section *sections, int i)
{
  for (int j = 0; j < i; j++)
    if (!strcmp(sections[j].prefix, sections[i].prefix)) return false;
  return true;
}

dx_error *dx_sections_print(const dx_section *sections, int count, unsigned roles, char **out)
{
  char *text = NULL;
  size_t size;
  FILE *to = open_memstream(&text, &size);
  bool good = to != NULL;

  for (int i = 0; good && i < count; i++)
    if (is_first_of_prefix(sections, i)) good = put_prefix(to, sections, count, sections[i].prefix, roles);
  if (to && fclose(to) != 0) good = false;
  if (!good) {
    free(text);
    return no_memory();
  }
  *out = text;
  return NULL;
}

/* ---- differences ---- */

/* The row of a key, also of sections that are not chosen: theirs may be. NULL: none. */
static const dx_option *row_of(const dx_section *sections, int count, const char *key)
{
  const char *point = strchr(key, '.');
  const size_t length = point ? (size_t)(point - key) : 0;

  for (int i = 0; i < count; i++) {
    const char *prefix = sections[i].prefix;
    const dx_option *o;

    if (strlen(prefix) != length || strncmp(prefix, key, length) != 0) continue;
    o = dx_option_find(sections[i].options, point ? point + 1 : key);
    if (o) return o;
  }
  return NULL;
}

/* Does a difference in this key count? */
static bool is_fixed(const dx_option *row) { return !row || row->role == DX_FIXED; }

/* theirs or ours may be NULL: the key stands on one side only. */
static void put_difference(FILE *to, const char *key, const char *theirs, const char *ours)
{
  char there[DX_SHOWN], here[DX_SHOWN];

  fprintf(to, "%s%s (%s there, %s here)", ftell(to) > 0 ? ", " : "", key,
          theirs ? dx_text_show(theirs, there) : "absent", ours ? dx_text_show(ours, here) : "absent");
}

static void put_differences(FILE *to, const dx_section *sections, int count, const dx_keys *theirs,
                            const dx_keys *ours)
{
  for (int i = 0; i < ours->count; i++) {
    const dx_key *k = &ours->at[i];
    const dx_option *const row = row_of(sections, count, k->key);
    const char *there = dx_keys_text(theirs, k->key);

    if (!there && row) there = row->before;
    if (k->kind == DX_KEY_SECTION || !is_fixed(row)) continue;
    if (!there || strcmp(there, k->text) != 0) put_difference(to, k->key, there, k->text);
  }
  for (int i = 0; i < theirs->count; i++) {
    const dx_key *k = &theirs->at[i];

    if (k->kind == DX_KEY_SECTION || !is_fixed(row_of(sections, count, k->key))) continue;
    if (!dx_keys_find(ours, k->key)) put_difference(to, k->key, k->text, NULL);
  }
}

/* A printed text may hold no keys at all, if no row has the role. */
static dx_error *parse_printed(const char *name, const char *text, dx_keys **out)
{
  return dx_keys_parse(name, *text ? text : "{}", *text ? strlen(text) : 2, out);
}

dx_error *dx_sections_differ(const dx_section *sections, int count, const char *theirs,
                             const char *ours, char **out)
{
  dx_keys *there = NULL, *here = NULL;
  dx_error *err;
  char *text = NULL;
  size_t size;
  FILE *to;

  DX_TRY_GOTO(err, end, parse_printed("the stored experiment", theirs, &there));
  DX_TRY_GOTO(err, end, parse_printed("this experiment", ours, &here));
  to = open_memstream(&text, &size);
  if (to) put_differences(to, sections, count, there, here);
  if (!to || fclose(to) != 0) {
    free(text);
    err = no_memory();
  } else *out = text;
end:
  dx_keys_destroy(there);
  dx_keys_destroy(here);
  return err;
}
