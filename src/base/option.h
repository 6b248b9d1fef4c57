/* SPDX-License-Identifier: Apache-2.0 */
/* base/option.h - one row declares an option: parser, help, docs and the
   stored settings all come from it. */
#ifndef DX_BASE_OPTION_H
#define DX_BASE_OPTION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* Short lists of numbers, such as [1, 2, 2, 2]. */
enum { DX_INTS_MAX = 16, DX_REALS_MAX = 8 };
typedef struct { int64_t n, v[DX_INTS_MAX]; } dx_ints;
typedef struct { int64_t n; double v[DX_REALS_MAX]; } dx_reals;

typedef enum { DX_INT, DX_REAL, DX_BOOL, DX_TEXT, DX_INTS, DX_REALS } dx_option_type;

/* What changing the option means for the answer (design: scientific or run-only). */
typedef enum {
  DX_FIXED, /* scientific: part of the answer; a resume with another value is refused */
  DX_FREE,  /* scientific, but a resumed run may change it */
  DX_RUN    /* where and how it runs, never what comes out; not in checkpoints */
} dx_option_role;

typedef struct {
  const char *key, *preset; /* preset NULL: must be given */
  double lo, hi;            /* inclusive, maybe -INFINITY and INFINITY; of every number of a
                               list; unused for bool and text. lo DBL_MIN reads "above 0" */
  dx_option_type type;
  size_t at, room;          /* offset and size of the field */
  const char *help;         /* one sentence, with the unit */
  const char *choices;      /* text only: "linear|cosine", or NULL for any text */
  const char *alias;        /* what other programs call the option, where nearness finds another or none: "lr|..."; only for the
                               error's hint */
  const char *elsewhere;    /* what other programs call some of them, for the error's hint: "ddpm=ancestral|..." */
  const char *words;        /* numbers only: words that stand for values, which may lie
                               outside of lo..hi: "auto=0|none=-1" */
  dx_option_role role;
  const char *before;       /* what runs that were begun before there was this option did, as its value; NULL: they
                               cannot be gone on with */
} dx_option;

#define DX_TYPE_OF(expr)                                                  \
  _Generic((expr), int64_t: DX_INT, double: DX_REAL, bool: DX_BOOL,       \
                   char *: DX_TEXT, dx_ints: DX_INTS, dx_reals: DX_REALS)

/* DX_OPTION(struct, field, preset, lo, hi, help [, .role = ..., .words = ...]) */
#define DX_OPTION(T, field, preset_, lo_, hi_, ...)                       \
  {.key = #field, .preset = preset_, .lo = lo_, .hi = hi_,                \
   .type = DX_TYPE_OF(((T *)0)->field), .at = offsetof(T, field),         \
   .room = sizeof(((T *)0)->field), .help = __VA_ARGS__}
#define DX_OPTION_END {.key = NULL}

/* Read text into the field of config (the struct that holds the option). A whole number
   may be written 8e5; a list of one without its brackets.
   The error says what was found and what is allowed, without key or place
   ("is -1; allowed: a number from 0 to 1"), and leaves the field alone.  Code CONFIG.  Local */
dx_error *dx_option_read(const dx_option *o, const char *text, void *config) DX_MUST_CHECK;
/* Write the field's value as the text that dx_option_read takes back to the
   same bits: words where they stand for it, numbers with the fewest digits that do, in
   a form that every YAML reader takes for a number, and reals that are a list of one without its brackets.
   Returns its length; cut like snprintf. */
int dx_option_print(const dx_option *o, const void *config, char *text, size_t room);
/* One number, with the fewest digits that read back to it, as dx_option_print has it. */
int dx_real_print(double v, char *text, size_t room);
/* All presets of a table into config. A preset that dx_option_read refuses is
   a broken promise (assert); rows without a preset are left alone. */
void dx_option_presets(const dx_option *table, void *config);
/* The row of that key, or NULL. */
const dx_option *dx_option_find(const dx_option *table, const char *key);
/* "a whole number from 1 to 4096, or auto": what the option takes. */
int dx_option_allowed(const dx_option *o, char *text, size_t room);

/* Is text one of "a|b|c"? list may be NULL. */
bool dx_text_listed(const char *text, const char *list);
/* Edits (insert, delete, replace, swap neighbours) that turn a into b; for a text of
   more than 63 bytes the length of the longer one, since nothing is near it. */
int dx_text_distance(const char *a, const char *b);
/* The distance if `typed` may well have been meant as `name`, else -1: few edits for the
   length whatever the case, or one is a word of the other ("batch_size" and "batch"). */
int dx_text_near(const char *typed, const char *name);
/* text as messages show it: at most 60 bytes, no control characters, in quotes if it is
   empty or holds a blank and is no list. Returns shown. */
enum { DX_SHOWN = 72 };
const char *dx_text_show(const char *text, char shown[DX_SHOWN]);
#endif
