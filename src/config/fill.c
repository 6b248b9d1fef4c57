/* SPDX-License-Identifier: Apache-2.0 */
/* config/fill.c - keys into the structs of their sections, and what to say of wrong ones. */
#include "config/keys.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_SHOWN = 50, MEANT_MAX = 3 };

/* One line of the message. */
typedef struct {
  int64_t line; /* place in the order: the file, the command line, what is missing */
  int number;   /* as found, for lines that are equal */
  char *key, *text;
} complaint;

typedef struct {
  const dx_keys *keys;
  const dx_section *sections;
  int count; /* of sections */
  complaint *at;
  int n, room;
  bool no_memory;
} report;

/* ---- the list of complaints ---- */

static bool report_grow(report *r)
{
  const int room = r->room ? 2 * r->room : 32;
  complaint *at = realloc(r->at, (size_t)room * sizeof *at);

  if (!at) return false;
  r->at = at;
  r->room = room;
  return true;
}

/* k: the entry, or NULL for what is missing. */
__attribute__((format(printf, 4, 5))) static void complain(report *r, const dx_key *k, const char *key,
                                                           const char *fmt, ...)
{
  complaint c = {.line = k ? k->line ? k->line : INT64_MAX - 1 : INT64_MAX, .number = r->n};
  char shown[DX_SHOWN];
  char *words;
  va_list ap;

  va_start(ap, fmt);
  words = dx_text_vformat(fmt, ap);
  va_end(ap);
  c.key = strdup(key);
  c.text = words ? dx_text_format("%s: %s %s", k ? k->place : r->keys->name, dx_text_show(key, shown), words) : NULL;
  free(words);
  if (!c.key || !c.text || (r->n == r->room && !report_grow(r))) {
    r->no_memory = true;
    free(c.key);
    free(c.text);
    return;
  }
  r->at[r->n++] = c;
}

static bool is_reported(const report *r, const char *key)
{
  for (int i = 0; i < r->n; i++)
    if (!strcmp(r->at[i].key, key)) return true;
  return false;
}

static int by_line(const void *a, const void *b)
{
  const complaint *x = a, *y = b;

  if (x->line != y->line) return x->line < y->line ? -1 : 1;
  return x->number - y->number;
}

/* All lines as one error; NULL if there are none. Empties the report. */
static dx_error *report_end(report *r)
{
  const int shown = r->n < LINES_SHOWN ? r->n : LINES_SHOWN;
  dx_error *err = NULL;
  char *text = NULL;
  size_t size;
  FILE *to = open_memstream(&text, &size);

  if (r->n > 0) qsort(r->at, (size_t)r->n, sizeof *r->at, by_line);
  for (int i = 0; to && i < shown; i++) fprintf(to, "%s%s", i ? "\n" : "", r->at[i].text);
  if (to && r->n > shown) fprintf(to, "\n... and %d more", r->n - shown);
  if (!to || fclose(to) != 0 || r->no_memory) err = DX_FAIL(INTERNAL, "out of memory while checking an experiment");
  else if (r->n > 0) err = dx_error_copy(DX_E_CONFIG, text);
  free(text);
  for (int i = 0; i < r->n; i++) {
    free(r->at[i].key);
    free(r->at[i].text);
  }
  free(r->at);
  return err;
}

/* ---- names ---- */

/* "train.rate" into "train" and "rate"; a key without a point is of section "". */
static const char *split(const char *key, char *section, size_t room)
{
  const char *point = strchr(key, '.');

  if (point == key) point = NULL; /* ".rate" is no other name of "rate" */
  snprintf(section, room, "%.*s", point ? (int)(point - key) : 0, key);
  return point ? point + 1 : key;
}

/* The row of a key among the chosen sections (or the others), or NULL. */
static const dx_option *find_row(const report *r, const char *key, bool chosen, const dx_section **section)
{
  char prefix[256];
  const char *leaf = split(key, prefix, sizeof prefix);
  const dx_option *o;

  for (int i = 0; i < r->count; i++) {
    const dx_section *s = &r->sections[i];

    if (!s->into == chosen || strcmp(s->prefix, prefix) != 0) continue;
    if (!(o = dx_option_find(s->options, leaf))) continue;
    if (section) *section = s;
    return o;
  }
  return NULL;
}

static bool is_prefix(const report *r, const char *name)
{
  for (int i = 0; i < r->count; i++)
    if (*name && !strcmp(r->sections[i].prefix, name)) return true;
  return false;
}

/* How unlikely it is that `typed` of section `in` was meant as that row; -1: not at all. */
static int unlikeliness(const char *in, const char *typed, const dx_section *s, const dx_option *o)
{
  const int d = dx_text_near(typed, o->key);
  const int apart = strcmp(in, s->prefix) != 0, similar = apart ? dx_text_near(in, s->prefix) : 0;
  const int unchosen = s->into == NULL;

  if (dx_text_listed(typed, o->alias)) return (apart ? 4 : 0) + unchosen;
  if (d < 0) return -1;
  if (!apart) return 2 * d + unchosen;
  if (*in && *s->prefix && similar >= 0) return 2 * (d + similar) + unchosen;
  return *in && d > 1 ? -1 : 2 * d + 3 + unchosen; /* a right word in the wrong section */
}

typedef struct { const dx_section *s; const dx_option *o; } candidate;

/* The best candidates for what a key was meant to be; returns how many. */
static int meant_rows(const report *r, const char *key, candidate best[MEANT_MAX])
{
  int least = -1, n = 0;
  char in[256];
  const char *typed = split(key, in, sizeof in);

  for (int i = 0; i < r->count; i++)
    for (const dx_option *o = r->sections[i].options; o->key; o++) {
      const int u = unlikeliness(in, typed, &r->sections[i], o);

      if (u < 0 || (least >= 0 && u > least)) continue;
      if (u != least) n = 0;
      least = u;
      if (n < MEANT_MAX) best[n++] = (candidate){&r->sections[i], o};
    }
  return n;
}

static void put_name(FILE *to, const dx_section *s, const dx_option *o)
{
  fprintf(to, "%s%s%s", s->prefix, *s->prefix ? "." : "", o->key);
  if (!s->into && s->only_with) fprintf(to, " (only with %s)", s->only_with);
}

/* "train, model, run": the sections of which one is chosen. */
static void put_sections(FILE *to, const report *r)
{
  int n = 0;

  for (int i = 0; i < r->count; i++) {
    bool again = !*r->sections[i].prefix || !r->sections[i].into;

    for (int j = 0; j < i; j++)
      again |= r->sections[j].into && !strcmp(r->sections[j].prefix, r->sections[i].prefix);
    if (!again) fprintf(to, "%s%s", n++ ? ", " : "", r->sections[i].prefix);
  }
}

/* "; did you mean train.rate?", or else which keys or sections there are. */
static void put_meant(FILE *to, const report *r, const char *key)
{
  candidate best[MEANT_MAX];
  const int n = meant_rows(r, key, best);
  char in[256];
  int listed = 0;

  for (int i = 0; i < n; i++) {
    fputs(i == 0 ? "; did you mean " : i == n - 1 ? " or " : ", ", to);
    put_name(to, best[i].s, best[i].o);
  }
  if (n > 0) fputc('?', to);
  split(key, in, sizeof in);
  for (int i = 0; n == 0 && i < r->count; i++)
    for (const dx_option *o = r->sections[i].options; o->key; o++)
      if (r->sections[i].into && !strcmp(r->sections[i].prefix, in))
        fprintf(to, "%s%s", listed++ ? ", " : "; there are ", o->key);
  if (n > 0 || (listed > 0 && *in)) return;
  fputs(listed ? ", and sections " : "; there are sections ", to);
  put_sections(to, r);
}

/* ---- the checks ---- */

static void unknown_key(report *r, const dx_key *k)
{
  char *meant = NULL;
  size_t size;
  FILE *to = open_memstream(&meant, &size);

  if (to) put_meant(to, r, k->key);
  if (!to || fclose(to) != 0) r->no_memory = true;
  else complain(r, k, k->key, "is not a key%s", meant);
  free(meant);
}

/* The section that such a name was meant to be, or NULL. */
static const char *meant_section(const report *r, const char *name)
{
  const char *best = NULL;
  int least = 100;

  for (int i = 0; i < r->count; i++) {
    const int d = *r->sections[i].prefix ? dx_text_near(name, r->sections[i].prefix) : -1;

    if (d < 0 || d >= least) continue;
    least = d;
    best = r->sections[i].prefix;
  }
  return best;
}

static void unknown_section(report *r, const dx_key *k)
{
  const char *meant = meant_section(r, k->key);
  char *sections = NULL;
  size_t size;
  FILE *to = open_memstream(&sections, &size);

  if (to) put_sections(to, r);
  if (!to || fclose(to) != 0) r->no_memory = true;
  else if (meant) complain(r, k, k->key, "is not a section; did you mean %s?", meant);
  else complain(r, k, k->key, "is not a section; there are %s", sections);
  free(sections);
}

/* A mapping at the top must be a section. */
static void check_section(report *r, const dx_key *k)
{
  const dx_option *o = find_row(r, k->key, true, NULL);
  char allowed[1024];

  if (is_prefix(r, k->key)) return;
  if (!o) {
    unknown_section(r, k);
    return;
  }
  dx_option_allowed(o, allowed, sizeof allowed);
  complain(r, k, k->key, "is a mapping; allowed: %s", allowed);
}

/* Was the section of this key refused as a whole? */
static bool is_within_wrong(const report *r, const char *key)
{
  char section[256];

  split(key, section, sizeof section);
  return *section && !is_prefix(r, section) && is_reported(r, section);
}

/* The words of an error of dx_option_read become a complaint. */
static void check_value(report *r, const dx_key *k, const dx_section *s, const dx_option *o)
{
  char allowed[1024], shown[DX_SHOWN];
  dx_error *e;

  dx_option_allowed(o, allowed, sizeof allowed);
  if (k->kind == DX_KEY_NOTHING) complain(r, k, k->key, "has no value; allowed: %s", allowed);
  else if (k->kind == DX_KEY_LIST && o->type != DX_INTS && o->type != DX_REALS)
    complain(r, k, k->key, "is a list, %s; allowed: %s", dx_text_show(k->text, shown), allowed);
  else if ((e = dx_option_read(o, k->text, s->into))) {
    complain(r, k, k->key, "%s", dx_error_text(e));
    dx_error_free(e);
  }
}

/* All keys but those that wait for check_unchosen. */
static void check_key(report *r, const dx_key *k)
{
  const dx_section *s;
  const dx_option *o = find_row(r, k->key, true, &s);

  if (is_within_wrong(r, k->key)) return;
  if (k->kind == DX_KEY_SECTION) check_section(r, k);
  else if (o) check_value(r, k, s, o);
  else if (find_row(r, k->key, false, NULL)) return;
  else if (!is_prefix(r, k->key)) unknown_key(r, k);
  else if (k->kind == DX_KEY_NOTHING)
    complain(r, k, k->key, "is a section without keys; put some below it or leave it out");
  else complain(r, k, k->key, "is a section; expected keys below it");
}

/* The key in "model.kind: mlp", which chooses among sections. */
static void chooser_of(const dx_section *s, char *key, size_t room)
{
  const char *words = s->only_with ? s->only_with : "";

  snprintf(key, room, "%.*s", (int)strcspn(words, ":"), words);
}

/* Of a choice that is wrong itself nothing is missing. */
static void check_missing(report *r)
{
  for (int i = 0; i < r->count; i++) {
    const dx_section *s = &r->sections[i];
    char chooser[256];

    chooser_of(s, chooser, sizeof chooser);
    if (is_reported(r, chooser) || (*s->prefix && is_reported(r, s->prefix))) continue;
    for (const dx_option *o = s->options; s->into && o->key; o++) {
      char key[256], allowed[1024];

      snprintf(key, sizeof key, "%s%s%s", s->prefix, *s->prefix ? "." : "", o->key);
      if (o->preset || dx_keys_find(r->keys, key)) continue;
      dx_option_allowed(o, allowed, sizeof allowed);
      complain(r, NULL, key, "is missing (%s); allowed: %s", o->help, allowed);
    }
  }
}

/* A section of a choice that was not made, and that knows the key. */
static bool is_owner(const dx_section *s, const char *prefix, const char *leaf)
{
  return !s->into && s->only_with && !strcmp(s->prefix, prefix) && dx_option_find(s->options, leaf);
}

/* "model.kind: mlp or unet (here exact)": all unchosen sections that know the key. */
static void put_owners(FILE *to, const report *r, const char *key)
{
  char prefix[256], chooser[256], value[256];
  const char *leaf = split(key, prefix, sizeof prefix);
  const dx_section *chosen;
  const dx_option *o;
  int n = 0;

  for (int i = 0; i < r->count; i++) {
    const dx_section *s = &r->sections[i];

    if (!is_owner(s, prefix, leaf)) continue;
    chooser_of(s, chooser, sizeof chooser);
    if (n++ == 0) fprintf(to, "only goes with %s", s->only_with);
    else fprintf(to, " or%s", s->only_with + strlen(chooser) + 1);
  }
  if (n == 0) fputs("does not go with the other keys", to);
  else if ((o = find_row(r, chooser, true, &chosen))) {
    dx_option_print(o, chosen->into, value, sizeof value);
    fprintf(to, " (here %s)", value);
  }
}

/* Does the command line choose otherwise than the file, and went this key of the file with the file's choice? */
static bool is_overruled(const report *r, const dx_key *k, const char *chooser)
{
  const dx_key *const by = dx_keys_find(r->keys, chooser);
  const dx_option *const row = find_row(r, chooser, true, NULL);
  char prefix[256], wanted[600];
  const char *const leaf = split(k->key, prefix, sizeof prefix);

  if (!k->line || !by || by->line || !row) return false;
  snprintf(wanted, sizeof wanted, "%s: %s", chooser, by->replaced ? by->replaced : row->preset ? row->preset : "");
  for (int i = 0; i < r->count; i++)
    if (is_owner(&r->sections[i], prefix, leaf) && !strcmp(r->sections[i].only_with, wanted)) return true;
  return false;
}

/* Keys of sections that were not chosen. Said only if the choice itself stands. */
static void check_unchosen(report *r, const dx_key *k)
{
  const dx_section *s;
  char chooser[256], *owners = NULL;
  size_t size;
  FILE *to;

  if (find_row(r, k->key, true, NULL) || !find_row(r, k->key, false, &s)) return;
  chooser_of(s, chooser, sizeof chooser);
  if (is_reported(r, chooser) || is_overruled(r, k, chooser)) return;
  to = open_memstream(&owners, &size);
  if (to) put_owners(to, r, k->key);
  if (!to || fclose(to) != 0) r->no_memory = true;
  else complain(r, k, k->key, "%s", owners);
  free(owners);
}

dx_error *dx_keys_fill(const dx_keys *keys, const dx_section *sections, int count)
{
  report r = {.keys = keys, .sections = sections, .count = count};

  for (int i = 0; i < count; i++)
    if (sections[i].into) dx_option_presets(sections[i].options, sections[i].into);
  for (int i = 0; i < keys->count; i++) check_key(&r, &keys->at[i]);
  check_missing(&r);
  for (int i = 0; i < keys->count; i++) check_unchosen(&r, &keys->at[i]);
  return report_end(&r);
}
