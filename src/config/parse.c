/* SPDX-License-Identifier: Apache-2.0 */
/* config/parse.c - an experiment file as a flat list of keys, each with its place.

   libyaml hands over events; reading goes down two levels of mappings and one of lists
   by plain calls, never deeper, so a hostile file cannot exhaust the stack. */
#include "config/keys.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { SIZE_MAX_BYTES = 1 << 20, KEYS_MAX = 4096 };

typedef struct {
  dx_keys *keys;
  const char *text; /* all of it */
  size_t size;
  const char *assignment; /* of the command line, or NULL: a file */
  yaml_parser_t parser;
  yaml_event_t event; /* the current one */
} reader;

/* ---- messages ---- */

/* "points.yaml:9:3: words", or "command line: train.rate=[: words". Lines count from 0. */
__attribute__((format(printf, 4, 5))) static dx_error *wrong(const reader *r, size_t line, size_t column,
                                                             const char *fmt, ...)
{
  char message[768], shown[DX_SHOWN];
  dx_error *e;
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(message, sizeof message, fmt, ap);
  va_end(ap);
  if (r->assignment)
    return dx_error_in(dx_error_copy(DX_E_USAGE, message), "command line: %s", dx_text_show(r->assignment, shown));
  e = dx_error_copy(DX_E_CONFIG, message);
  return dx_error_in(e, "%s:%zu:%zu", r->keys->name, line + 1, column + 1);
}

static dx_error *no_memory(void) { return DX_FAIL(INTERNAL, "out of memory while reading an experiment"); }

#define WRONG(r, ...) wrong(r, (r)->event.start_mark.line, (r)->event.start_mark.column, __VA_ARGS__)

/* Is that line of the text (from 0) indented with a tab? YAML's words for it are dark. */
static bool tab_indents(const reader *r, size_t line)
{
  const char *at = r->text, *const end = r->text + r->size;

  for (; line > 0 && at < end; line--) {
    at = memchr(at, '\n', (size_t)(end - at));
    if (!at++) return false;
  }
  for (; at < end && *at == ' '; at++) {}
  return at < end && *at == '\t';
}

static dx_error *not_yaml(const reader *r)
{
  const yaml_parser_t *p = &r->parser;
  yaml_mark_t at = p->problem_mark;

  if (p->error == YAML_MEMORY_ERROR) return no_memory();
  if (tab_indents(r, at.line)) return wrong(r, at.line, at.column, "not YAML: a tab; indent with blanks");
  if (p->context && !strcmp(p->context, "while scanning a simple key")) { /* noticed lines later */
    at = p->context_mark;
    return wrong(r, at.line, at.column, "not YAML: expected 'key: value'");
  }
  if (p->context && p->context_mark.line != at.line)
    return wrong(r, at.line, at.column, "not YAML: %s that begins in line %zu, %s", p->context,
                 p->context_mark.line + 1, p->problem);
  return wrong(r, at.line, at.column, "not YAML: %s%s%s", p->context ? p->context : "",
               p->context ? ", " : "", p->problem ? p->problem : "it cannot be read");
}

/* ---- events ---- */

static dx_error *next(reader *r)
{
  const yaml_char_t *anchor = NULL, *tag = NULL;
  yaml_event_t *const e = &r->event;

  yaml_event_delete(e);
  if (!yaml_parser_parse(&r->parser, e)) return not_yaml(r);
  if (e->type == YAML_ALIAS_EVENT) anchor = e->data.alias.anchor;
  if (e->type == YAML_SCALAR_EVENT) anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
  if (e->type == YAML_SEQUENCE_START_EVENT)
    anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
  if (e->type == YAML_MAPPING_START_EVENT)
    anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
  if (anchor) return WRONG(r, "anchors and aliases (&name, *name) are not taken; write the value out");
  if (tag) return WRONG(r, "tags (!name) are not taken");
  return NULL;
}

static const char *scalar_text(const reader *r) { return (const char *)r->event.data.scalar.value; }

static bool is_plain(const reader *r) { return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE; }

static dx_key_kind scalar_kind(const reader *r)
{
  const char *text = scalar_text(r);

  if (!is_plain(r)) return DX_KEY_QUOTED;
  return !*text || !strcmp(text, "~") || !strcasecmp(text, "null") ? DX_KEY_NOTHING : DX_KEY_PLAIN;
}

/* A quoted "\0" ends our texts early. */
static dx_error *scalar_whole(const reader *r)
{
  if (strlen(scalar_text(r)) == r->event.data.scalar.length) return NULL;
  return WRONG(r, "a NUL character in a text");
}

/* The items of a list up to its end, into "[a, b]". What a list of numbers could take
   apart wrongly is put in quotes, so that it is refused there. */
static dx_error *read_items(reader *r, const char *key, FILE *to)
{
  char shown[DX_SHOWN];

  fputc('[', to);
  for (int i = 0;; i++) {
    DX_TRY(next(r));
    if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
    if (r->event.type != YAML_SCALAR_EVENT)
      return WRONG(r, "%s: a list holds single values only", dx_text_show(key, shown));
    DX_TRY(scalar_whole(r));
    if (i > 0) fputs(", ", to);
    if (is_plain(r) && !strpbrk(scalar_text(r), ",[]\"")) fputs(scalar_text(r), to);
    else dx_yaml_write(to, scalar_text(r));
  }
  fputc(']', to);
  return NULL;
}

static dx_error *read_list(reader *r, const char *key, int64_t line)
{
  char *text = NULL;
  size_t size;
  FILE *to = open_memstream(&text, &size);
  dx_error *err;

  if (!to) return no_memory();
  err = read_items(r, key, to);
  if (fclose(to) != 0 && !err) err = no_memory();
  if (!err && !dx_keys_add(r->keys, key, text, DX_KEY_LIST, line)) err = no_memory();
  free(text);
  return err;
}

/* The current event begins the value of a key that stands in that line: a scalar or list. */
static dx_error *read_value(reader *r, const char *key, int64_t line)
{
  if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_list(r, key, line);
  DX_TRY(scalar_whole(r));
  return dx_keys_add(r->keys, key, scalar_text(r), scalar_kind(r), line) ? NULL : no_memory();
}

/* The current event is a key: its full name, malloc'd. */
static dx_error *read_name(const reader *r, const char *section, char **out)
{
  char shown[DX_SHOWN];
  const dx_key *old;
  char *key;

  if (r->event.type != YAML_SCALAR_EVENT || !*scalar_text(r))
    return WRONG(r, "a key must be a single word");
  DX_TRY(scalar_whole(r));
  if (r->keys->count >= KEYS_MAX) return WRONG(r, "more than %d keys", KEYS_MAX);
  key = dx_text_format("%s%s%s", section, *section ? "." : "", scalar_text(r));
  if (!key) return no_memory();
  old = dx_keys_find(r->keys, key);
  if (old) {
    free(key);
    return WRONG(r, "%s stands twice, first in line %" PRId64, dx_text_show(old->key, shown), old->line);
  }
  *out = key;
  return NULL;
}

static dx_error *read_mapping(reader *r, const char *section);

/* The value of a key, which may be a section if it stands at the top. */
static dx_error *read_entry(reader *r, const char *section, const char *key, int64_t line)
{
  char shown[DX_SHOWN];

  DX_TRY(next(r));
  if (r->event.type != YAML_MAPPING_START_EVENT) return read_value(r, key, line);
  if (*section)
    return WRONG(r, "%s is a mapping; only sections at the top hold keys", dx_text_show(key, shown));
  if (!dx_keys_add(r->keys, key, "", DX_KEY_SECTION, line)) return no_memory();
  return read_mapping(r, key);
}

/* Behind the start of a mapping, up to its end. section is "" at the top. */
static dx_error *read_mapping(reader *r, const char *section)
{
  for (;;) {
    dx_error *err;
    char *key = NULL;
    int64_t line;

    DX_TRY(next(r));
    if (r->event.type == YAML_MAPPING_END_EVENT) return NULL;
    line = (int64_t)r->event.start_mark.line + 1;
    DX_TRY(read_name(r, section, &key));
    err = read_entry(r, section, key, line);
    free(key);
    if (err) return err;
  }
}

/* Up to the first event of what the document holds. */
static dx_error *read_start(reader *r)
{
  DX_TRY(next(r)); /* the stream */
  DX_TRY(next(r));
  if (r->event.type == YAML_STREAM_END_EVENT) return WRONG(r, r->assignment ? "no value" : "empty: no keys at all");
  DX_TRY(next(r));
  return NULL;
}

static dx_error *read_end(reader *r)
{
  DX_TRY(next(r)); /* end of the document */
  DX_TRY(next(r));
  if (r->event.type == YAML_STREAM_END_EVENT) return NULL;
  return WRONG(r, "a second document begins here; an experiment is one");
}

static dx_error *read_experiment(reader *r)
{
  DX_TRY(read_start(r));
  if (r->event.type == YAML_SCALAR_EVENT && scalar_kind(r) == DX_KEY_NOTHING)
    return WRONG(r, "empty: no keys at all");
  if (r->event.type != YAML_MAPPING_START_EVENT) return WRONG(r, "expected 'key: value'");
  DX_TRY(read_mapping(r, ""));
  return read_end(r);
}

/* ---- texts ---- */

/* A text file throughout? Checked first, since libyaml names no line for this. */
static dx_error *check_characters(const reader *r)
{
  size_t line = 0, column = 0;
  uint32_t c;

  for (size_t i = 0; i < r->size; column++) {
    const int n = dx_utf8_next(r->text + i, r->size - i, &c);

    if (n == 0)
      return wrong(r, line, column, "not a text file: the byte 0x%02X is not UTF-8", (unsigned char)r->text[i]);
    if (!dx_yaml_printable(c) && !(c == 0xFEFF && i == 0))
      return wrong(r, line, column, "not a text file: the control character 0x%02X", (unsigned)c);
    if (c == '\n') line++, column = (size_t)-1;
    i += (size_t)n;
  }
  return NULL;
}

static dx_error *reader_run(reader *r, dx_error *(*read)(reader *))
{
  dx_error *err;

  DX_TRY(check_characters(r));
  if (!yaml_parser_initialize(&r->parser)) return no_memory();
  yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->size);
  err = read(r);
  yaml_event_delete(&r->event);
  yaml_parser_delete(&r->parser);
  return err;
}

dx_error *dx_keys_parse(const char *name, const char *text, size_t size, dx_keys **out)
{
  dx_keys *keys;
  dx_error *err;
  reader r;

  if (size > SIZE_MAX_BYTES)
    return DX_FAIL(CONFIG, "%s: %zu bytes are too many for an experiment, at most %d", name, size, SIZE_MAX_BYTES);
  keys = calloc(1, sizeof *keys);
  if (!keys || !(keys->name = strdup(name))) {
    free(keys);
    return no_memory();
  }
  r = (reader){.keys = keys, .text = text, .size = size};
  err = reader_run(&r, read_experiment);
  if (err) dx_keys_destroy(keys);
  else *out = keys;
  return err;
}

/* ---- the command line ---- */

/* Does anything but blanks follow on the current event? YAML drops comments silently. */
static bool ends_text(const reader *r)
{
  size_t index = 0, used = 0;

  for (size_t i = 0; i < r->size; i++) {
    if (((unsigned char)r->text[i] & 0xC0) != 0x80) index++;
    if (!isspace((unsigned char)r->text[i])) used = index;
  }
  return r->event.end_mark.index >= used;
}

static dx_error *read_assigned(reader *r)
{
  const size_t length = strcspn(r->assignment, "=");
  char key[256];

  snprintf(key, sizeof key, "%.*s", (int)length, r->assignment);
  DX_TRY(read_start(r));
  if (r->event.type == YAML_MAPPING_START_EVENT)
    return WRONG(r, "expected a value or a list, not a mapping");
  if (r->event.type == YAML_SCALAR_EVENT && scalar_kind(r) == DX_KEY_NOTHING) return WRONG(r, "no value");
  DX_TRY(read_value(r, key, 0));
  if (!ends_text(r)) return WRONG(r, "put text with a # in quotes");
  return read_end(r);
}

dx_error *dx_keys_assign(dx_keys *keys, const char *assignment)
{
  const char *const equals = strchr(assignment, '=');
  const size_t length = strspn(assignment, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
  const int before = keys->count;
  char shown[DX_SHOWN];
  dx_error *err;
  reader r;

  if (!equals || strchr("=.-", *assignment) || length > 255 || equals != assignment + length)
    return DX_FAIL(USAGE, "command line: %s is not key=value%s", dx_text_show(assignment, shown),
                   *assignment == '-' ? ", nor an option of this command (diffx help COMMAND)" : ", such as train.steps=100");
  r = (reader){.keys = keys, .text = equals + 1, .size = strlen(equals + 1), .assignment = assignment};
  if (r.size > SIZE_MAX_BYTES) return DX_FAIL(USAGE, "command line: a value of %zu bytes", r.size);
  err = reader_run(&r, read_assigned);
  if (!err) dx_keys_settle(keys);
  else dx_keys_cut(keys, before);
  return err;
}

