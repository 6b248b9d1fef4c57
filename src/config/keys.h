/* SPDX-License-Identifier: Apache-2.0 */
/* config/keys.h - the keys of an experiment from within: for the files of config only. */
#ifndef DX_CONFIG_KEYS_H
#define DX_CONFIG_KEYS_H
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include "config/config.h"

typedef enum {
  DX_KEY_PLAIN,
  DX_KEY_QUOTED,
  DX_KEY_LIST,    /* text is "[a, b]" */
  DX_KEY_NOTHING, /* no value, or YAML's null; text is what stood there */
  DX_KEY_SECTION  /* a mapping at the top; its keys are entries of their own */
} dx_key_kind;

typedef struct {
  char *key, *text, *place; /* owned; place is "points.yaml:9" or "command line" */
  char *replaced;           /* owned: the file's text, where the command line has another one; or NULL */
  int64_t line;             /* from 1; 0: command line */
  dx_key_kind kind;
} dx_key;

struct dx_keys {
  char *name;
  dx_key *at; /* (count), in order of the file, then of the command line */
  int count, room;
};

/* The entry of that key, or NULL. */
dx_key *dx_keys_find(const dx_keys *keys, const char *key);
/* Append an entry; line 0 is the command line. key and text are copied. false: no memory. */
bool dx_keys_add(dx_keys *keys, const char *key, const char *text, dx_key_kind kind, int64_t line);
/* The last entry takes the place of another one of its key, if there is any. */
void dx_keys_settle(dx_keys *keys);
/* Drop all entries but the first `count`. */
void dx_keys_cut(dx_keys *keys, int count);

/* Like printf into a text of the size it needs (malloc'd); NULL: no memory. */
char *dx_text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *dx_text_vformat(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* text as a YAML scalar that reads back as this very text, in quotes where needed. */
void dx_yaml_write(FILE *to, const char *text);
/* Length in bytes of the first character of s (n bytes, n > 0), its number in *c;
   0 if that is not UTF-8. */
int dx_utf8_next(const char *s, size_t n, uint32_t *c);
/* May this character stand in YAML text as it is? */
bool dx_yaml_printable(uint32_t c);
#endif
