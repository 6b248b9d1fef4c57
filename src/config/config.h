/* SPDX-License-Identifier: Apache-2.0 */
/* config/config.h - an experiment file becomes plain structs.

   Reading goes in two stages, since some keys decide which others exist
   (model.kind): parse to a flat list of keys, look at a few, then fill the
   structs of all sections at once and report every mistake in one error. */
#ifndef DX_CONFIG_CONFIG_H
#define DX_CONFIG_CONFIG_H
#include <stdio.h>
#include "base/error.h"
#include "base/option.h"

/* A table of options under a prefix and the struct that it fills. */
typedef struct {
  const char *prefix;        /* "train", "" for keys at the top */
  const dx_option *options;
  void *into;                /* NULL: known, but not chosen in this experiment: its
                                keys are refused with the words of `only_with` */
  const char *only_with;     /* "model.kind: mlp", or NULL */
} dx_section;

/* The keys of an experiment as they were written, each with its place. */
typedef struct dx_keys dx_keys;

/* Parse YAML text: mappings of scalars and flow or block lists of scalars, two
   levels of mappings at the most; keys are then known as "section.key".
   name stands in messages (a file name).
   Refused with line and column: empty, binary (NUL, control characters, not UTF-8), not
   YAML, deeper, a key twice, anchors/aliases/tags, several documents, more than 4096 keys
   or 1 MiB. Code DX_E_CONFIG.  Local */
dx_error *dx_keys_parse(const char *name, const char *text, size_t size,
                        dx_keys **out) DX_MUST_CHECK;
/* Add or replace one key from the command line, "train.steps=200"; the value is a YAML
   scalar or list. Code DX_E_USAGE if it cannot be read as that.  Local */
dx_error *dx_keys_assign(dx_keys *keys, const char *assignment) DX_MUST_CHECK;
/* The text of a key as written ("[1, 2]" for any list), owned by keys; NULL if the key
   is absent, has no value or is a mapping. */
const char *dx_keys_text(const dx_keys *keys, const char *key);
void dx_keys_destroy(dx_keys *keys); /* NULL is fine */

/* Presets, then the keys, into all sections. Every wrong or missing key is reported, one
   line each in order of the file: "cifar.yaml:14: model.dropot is not a key; did you mean
   model.dropout?", "points.yaml:9: train.rate is -1; allowed: a number from 0 to 1".
   Sections may share a prefix. After an error the structs hold good values or presets
   only. Where the command line chooses otherwise than the
   file, the file's keys that go with its own choice alone are passed over. Code DX_E_CONFIG.  Local */
dx_error *dx_keys_fill(const dx_keys *keys, const dx_section *sections, int count) DX_MUST_CHECK;
/* "points.yaml:9" for messages about a key's value; "command line" or "preset"
   where it came from there. Owned by keys. */
const char *dx_keys_place(const dx_keys *keys, const char *key);
/* What a single row cannot see: "points.yaml:9: train.batch " and then the words of fmt,
   such as "is 100, no multiple of train.grain (16)". For a preset the place is
   the file without a line. Code DX_E_CONFIG.  Local */
dx_error *dx_keys_wrong(const dx_keys *keys, const char *key, const char *fmt, ...) DX_MUST_CHECK
    __attribute__((format(printf, 3, 4)));
/* Both errors as one, one line after the other; NULL if both are. Takes a and b.  Local */
dx_error *dx_keys_both(dx_error *a, dx_error *b) DX_MUST_CHECK;

/* The resolved experiment as YAML text (malloc'd, owned by the caller): chosen
   sections only, rows in table order; roles: bit mask of 1 << dx_option_role.  Local */
dx_error *dx_sections_print(const dx_section *sections, int count, unsigned roles,
                            char **out) DX_MUST_CHECK;
/* Which keys differ between two printed texts: "train.batch (64 there, 32 here)",
   joined by ", " (malloc'd; empty when none). Keys whose row in sections has another
   role than DX_FIXED are passed over, those without a row are not. A key that is absent there has the
   value `before` of its row, if that is given.  Local */
dx_error *dx_sections_differ(const dx_section *sections, int count, const char *theirs,
                             const char *ours, char **out) DX_MUST_CHECK;

/* One option's help, as `diffx help KEY` prints it, and the table of one section as
   Markdown for doc/options.md, to the stream.  Local */
void dx_option_help(const dx_section *section, const dx_option *o, FILE *to);
void dx_section_markdown(const dx_section *section, FILE *to);
#endif
