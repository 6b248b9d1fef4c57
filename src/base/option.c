/* SPDX-License-Identifier: Apache-2.0 */
/* base/option.c - text into fields and fields into text, by the rows of option tables. */
#include "base/option.h"

#include <assert.h>
#include <ctype.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Room for a list of DX_INTS_MAX numbers, or a word. */
enum { TEXT_ROOM = 512 };

/* A text under construction; `used` counts also what was cut, as snprintf does. */
typedef struct { char *text; size_t room; int used; } writer;

__attribute__((format(printf, 2, 3))) static void put(writer *w, const char *fmt, ...)
{
  const size_t used = (size_t)w->used < w->room ? (size_t)w->used : w->room;
  va_list ap;
  int n;

  va_start(ap, fmt);
  n = vsnprintf(w->room ? w->text + used : NULL, w->room - used, fmt, ap);
  va_end(ap);
  if (n > 0) w->used += n;
}

/* One piece of "a|b|c": its length, and *from moves behind it. 0 at the end. */
static int piece(const char **from, const char **start)
{
  const int n = (int)strcspn(*from, "|");

  *start = *from;
  *from += n + ((*from)[n] == '|');
  return n;
}

/* ---- texts ---- */

bool dx_text_listed(const char *text, const char *list)
{
  const size_t length = strlen(text);
  const char *start;
  int n;

  while (list && (n = piece(&list, &start)) > 0)
    if ((size_t)n == length && !memcmp(start, text, length)) return true;
  return false;
}

enum { NEAR_MAX = 64 }; /* longer texts are near to nothing */

static int least(int a, int b) { return a < b ? a : b; }

int dx_text_distance(const char *a, const char *b)
{
  const int n = (int)strnlen(a, NEAR_MAX), m = (int)strnlen(b, NEAR_MAX);
  int rows[3][NEAR_MAX], *older = rows[0], *old = rows[1], *now = rows[2], *spare;

  if (n == NEAR_MAX || m == NEAR_MAX)
    return (int)(strlen(a) > strlen(b) ? strlen(a) : strlen(b));
  for (int j = 0; j <= m; j++) old[j] = older[j] = j;
  for (int i = 1; i <= n; i++) {
    now[0] = i;
    for (int j = 1; j <= m; j++) {
      now[j] = least(old[j - 1] + (a[i - 1] != b[j - 1]), least(old[j], now[j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = least(now[j], older[j - 2] + 1);
    }
    spare = older; older = old; old = now; now = spare;
  }
  return old[m];
}

/* Is `part` one of the words that underscores join to `whole`? */
static bool is_word_of(const char *part, const char *whole)
{
  const size_t n = strlen(part);
  const char *at = n > 2 ? strstr(whole, part) : NULL;

  for (; at; at = strstr(at + 1, part))
    if ((at == whole || at[-1] == '_') && (at[n] == '\0' || at[n] == '_')) return true;
  return false;
}

int dx_text_near(const char *typed, const char *name)
{
  const size_t n = strlen(typed), m = strlen(name);
  char low[NEAR_MAX];
  int d;

  if (n >= sizeof low || m >= sizeof low) return -1;
  for (size_t i = 0; i <= n; i++)
    low[i] = typed[i] == '-' && !strchr(name, '-') ? '_' : (char)tolower((unsigned char)typed[i]);
  d = dx_text_distance(low, name);
  if (d <= (int)(n + 1) / 3 && d < (int)m) return d;
  return is_word_of(low, name) || is_word_of(name, low) ? 2 : -1;
}

const char *dx_text_show(const char *text, char shown[DX_SHOWN])
{
  const size_t limit = 60, length = strnlen(text, limit + 1);
  const char *const quote = *text == '\0' || (*text != '[' && strpbrk(text, " \t\n")) ? "\"" : "";
  size_t n = length;

  if (length > limit) /* cut between characters, not inside of one */
    for (n = limit - 3; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;) n--;
  snprintf(shown, DX_SHOWN, "%s%.*s%s%s", quote, (int)n, text, n < length ? "..." : "", quote);
  for (char *c = shown; *c; c++)
    if (iscntrl((unsigned char)*c)) *c = '?';
  return shown;
}

/* ---- numbers ---- */

/* A decimal number: digits with maybe a point, then a power of ten. */
typedef struct {
  const char *first, *end; /* the digits and the point */
  long power;              /* of ten, for the digits without the point */
  bool minus, zero;
} decimal;

/* The whole text must be such a number: no blanks, hexadecimal, inf or nan. */
static bool decimal_scan(const char *s, decimal *d)
{
  bool point = false, digit = false, down;
  long power = 0;

  *d = (decimal){.minus = *s == '-', .zero = true};
  if (*s == '-' || *s == '+') s++;
  for (d->first = s; isdigit((unsigned char)*s) || (*s == '.' && !point); s++) {
    if (*s == '.') { point = true; continue; }
    digit = true;
    if (*s != '0') d->zero = false;
    if (point) d->power--;
  }
  d->end = s;
  if (!digit) return false;
  if (*s != 'e' && *s != 'E') return *s == '\0';
  down = *++s == '-';
  if (*s == '-' || *s == '+') s++;
  if (!isdigit((unsigned char)*s)) return false;
  for (; isdigit((unsigned char)*s); s++)
    if (power < 100000000) power = 10 * power + (*s - '0');
  d->power += down ? -power : power;
  return *s == '\0';
}

/* NULL, or what is wrong with it, to stand behind "is 12x". */
static const char *whole_scan(const char *s, int64_t *out)
{
  static const char too_large[] = ", too large";
  const char *last;
  int64_t v = 0;
  decimal d;

  if (!decimal_scan(s, &d)) return "";
  if (d.zero) { *out = 0; return NULL; }
  for (last = d.end; last[-1] == '0' || last[-1] == '.'; last--)
    if (last[-1] == '0') d.power++;
  if (d.power < 0) return ", not whole";
  for (const char *c = d.first; c < last; c++) /* negative: there is one more of these */
    if (*c != '.' && (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, *c - '0', &v)))
      return too_large;
  for (; d.power > 0; d.power--)
    if (__builtin_mul_overflow(v, 10, &v)) return too_large;
  if (!d.minus && __builtin_sub_overflow(0, v, &v)) return too_large;
  *out = v;
  return NULL;
}

static const char *real_scan(const char *s, double *out)
{
  decimal d;
  double v;

  if (!decimal_scan(s, &d)) return "";
  v = strtod(s, NULL);
  if (isinf(v)) return ", too large";
  if (v == 0 && !d.zero) return ", too close to 0";
  *out = v;
  return NULL;
}

/* Is v in lo..hi? Without rounding v to a double. */
static bool whole_within(const dx_option *o, int64_t v)
{
  return (o->lo < -0x1p63 || (o->lo < 0x1p63 && v >= (int64_t)ceil(o->lo))) &&
         (o->hi >= 0x1p63 || (o->hi >= -0x1p63 && v <= (int64_t)floor(o->hi)));
}

/* The value that a word stands for: the text behind its '='; NULL if it is none. */
static const char *word_value(const char *list, const char *word, char value[64])
{
  const char *rest = list, *start;
  const size_t length = strlen(word);
  int n;

  while (rest && (n = piece(&rest, &start)) > 0) {
    if (length >= (size_t)n || strncmp(start, word, length) != 0 || start[length] != '=') continue;
    snprintf(value, 64, "%.*s", n - (int)length - 1, start + length + 1);
    return value;
  }
  return NULL;
}

/* ---- reading ---- */

/* Nearest of the choices or words to a text, or NULL. */
static const char *nearest_choice(const char *list, const char *text, char near[64])
{
  const char *start;
  char one[64];
  int best = 100, d, n;

  while (list && (n = piece(&list, &start)) > 0) {
    snprintf(one, sizeof one, "%.*s", least(n, (int)strcspn(start, "=|")), start);
    d = dx_text_near(text, one);
    if (d < 0 || d >= best) continue;
    best = d;
    memcpy(near, one, sizeof one);
  }
  return best < 100 ? near : NULL;
}

static dx_error *refuse(const dx_option *o, const char *text, const char *why)
{
  char shown[DX_SHOWN], allowed[2 * TEXT_ROOM], message[4 * TEXT_ROOM], near[64];
  const char *const theirs = word_value(o->elsewhere, text, near);
  const char *const meant = theirs ? theirs : nearest_choice(o->choices ? o->choices : o->words, text, near);

  dx_option_allowed(o, allowed, sizeof allowed);
  snprintf(message, sizeof message, "is %s%s; allowed: %s%s%s%s", dx_text_show(text, shown), why,
           allowed, meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
  return dx_error_copy(DX_E_CONFIG, message);
}

/* One whole number or its word, within the bounds; NULL or what is wrong. */
static const char *whole_read(const dx_option *o, const char *text, int64_t *out)
{
  char value[64];
  const char *wrong;

  if (word_value(o->words, text, value)) {
    *out = strtoll(value, NULL, 10);
    return NULL;
  }
  wrong = whole_scan(text, out);
  return wrong ? wrong : whole_within(o, *out) ? NULL : "";
}

static const char *real_read(const dx_option *o, const char *text, double *out)
{
  char value[64];
  const char *wrong;

  if (word_value(o->words, text, value)) {
    *out = strtod(value, NULL);
    return NULL;
  }
  wrong = real_scan(text, out);
  return wrong ? wrong : *out >= o->lo && *out <= o->hi ? NULL : "";
}

static const char *bool_read(const char *text, bool *out)
{
  static const char *const names[2][3] = {{"false", "no", "off"}, {"true", "yes", "on"}};

  for (int value = 0; value < 2; value++)
    for (int i = 0; i < 3; i++)
      if (!strcasecmp(text, names[value][i])) { *out = value; return NULL; }
  return "";
}

/* "[1, 2]", or "1" alone, into the one of the two that is not NULL. */
static const char *list_read(const dx_option *o, const char *text, dx_ints *ints, dx_reals *reals)
{
  const char *at = text, *end = text + strlen(text), *wrong, *stop;
  int64_t *const n = ints ? &ints->n : &reals->n;
  char one[64];

  *n = 0;
  if (*text == '[') {
    if (end[-1] != ']' || end - text < 2) return "";
    at++, end--;
  }
  for (; at < end && isspace((unsigned char)*at); at++) {}
  while (at < end) {
    for (; at < end && isspace((unsigned char)*at); at++) {}
    stop = memchr(at, ',', (size_t)(end - at));
    if (!stop) stop = end;
    snprintf(one, sizeof one, "%.*s", (int)(stop - at < 64 ? stop - at : 63), at);
    for (size_t i = strlen(one); i > 0 && isspace((unsigned char)one[i - 1]);) one[--i] = '\0';
    if (*n == (ints ? DX_INTS_MAX : DX_REALS_MAX)) return ", too many numbers";
    wrong = ints ? whole_read(o, one, &ints->v[*n]) : real_read(o, one, &reals->v[*n]);
    if (wrong) return wrong;
    ++*n;
    at = stop + 1;
  }
  return *text == '[' || *n == 1 ? NULL : "";
}

static const char *text_read(const dx_option *o, const char *text, char *out)
{
  const size_t length = strlen(text);

  if (o->choices && !dx_text_listed(text, o->choices)) return "";
  if (length >= o->room) return ", too long";
  memcpy(out, text, length + 1);
  return NULL;
}

dx_error *dx_option_read(const dx_option *o, const char *text, void *config)
{
  unsigned char *const field = (unsigned char *)config + o->at;
  const char *wrong = "";
  union { int64_t i; double r; bool b; dx_ints l; dx_reals k; } v;

  memset(&v, 0, sizeof v);
  switch (o->type) {
  case DX_INT: wrong = whole_read(o, text, &v.i); break;
  case DX_REAL: wrong = real_read(o, text, &v.r); break;
  case DX_BOOL: wrong = bool_read(text, &v.b); break;
  case DX_INTS: wrong = list_read(o, text, &v.l, NULL); break;
  case DX_REALS: wrong = list_read(o, text, NULL, &v.k); break;
  case DX_TEXT: wrong = text_read(o, text, (char *)field); break;
  }
  if (wrong) return refuse(o, text, wrong);
  if (o->type != DX_TEXT) memcpy(field, &v, o->room);
  return NULL;
}

/* ---- printing ---- */

/* The word that stands for a value; value_is compares the text behind the '='. */
static bool put_word(writer *w, const dx_option *o, bool (*value_is)(const char *, const void *),
                     const void *v)
{
  const char *rest = o->words, *start;
  char value[64];
  int n, name;

  while (rest && (n = piece(&rest, &start)) > 0) {
    name = (int)strcspn(start, "=");
    snprintf(value, sizeof value, "%.*s", n - name - 1, start + name + 1);
    if (!value_is(value, v)) continue;
    put(w, "%.*s", name, start);
    return true;
  }
  return false;
}

static bool is_whole(const char *value, const void *v)
{
  return strtoll(value, NULL, 10) == *(const int64_t *)v;
}

static bool is_real(const char *value, const void *v) /* of the same bits: -0 is not 0 */
{
  const double r = strtod(value, NULL);

  return !memcmp(&r, v, sizeof r);
}

static void put_whole(writer *w, const dx_option *o, int64_t v)
{
  if (!put_word(w, o, is_whole, &v)) put(w, "%" PRId64, v);
}

/* The fewest digits that read back to v. YAML 1.1 wants a point before an e. */
static void put_digits(writer *w, double v)
{
  char text[40];
  const char *e;
  int digits = 0, power;

  do snprintf(text, sizeof text, "%.*e", digits++, v);
  while (digits < 17 && strtod(text, NULL) != v);
  e = strchr(text, 'e');
  power = atoi(e + 1);
  if (power >= -4 && power < 15) /* digits behind the point: none if the number is long */
    put(w, "%.*f", digits - 1 > power ? digits - 1 - power : 0, v);
  else
    put(w, "%.*s%s%s", (int)(e - text), text, digits > 1 ? "" : ".0", e);
}

static void put_real(writer *w, const dx_option *o, double v)
{
  if (put_word(w, o, is_real, &v)) return;
  if (isfinite(v)) put_digits(w, v);
  else put(w, "%s", isnan(v) ? ".nan" : v > 0 ? ".inf" : "-.inf");
}

int dx_real_print(double v, char *text, size_t room)
{
  writer w = {text, room, 0};

  put_digits(&w, v);
  return w.used;
}

int dx_option_print(const dx_option *o, const void *config, char *text, size_t room)
{
  const void *const field = (const unsigned char *)config + o->at;
  const dx_ints *const list = field;
  const dx_reals *const reals = field;
  writer w = {text, room, 0};

  switch (o->type) {
  case DX_INT: put_whole(&w, o, *(const int64_t *)field); break;
  case DX_REAL: put_real(&w, o, *(const double *)field); break;
  case DX_BOOL: put(&w, "%s", *(const bool *)field ? "true" : "false"); break;
  case DX_TEXT: put(&w, "%s", (const char *)field); break;
  case DX_INTS:
    put(&w, "[");
    for (int64_t i = 0; i < list->n; i++) {
      put(&w, "%s", i ? ", " : "");
      put_whole(&w, o, list->v[i]);
    }
    put(&w, "]");
    break;
  case DX_REALS:
    put(&w, reals->n == 1 ? "" : "[");
    for (int64_t i = 0; i < reals->n; i++) {
      put(&w, "%s", i ? ", " : "");
      put_real(&w, o, reals->v[i]);
    }
    put(&w, reals->n == 1 ? "" : "]");
    break;
  }
  return w.used;
}

/* ---- tables ---- */

void dx_option_presets(const dx_option *table, void *config)
{
  for (const dx_option *o = table; o->key; o++) {
    dx_error *e = o->preset ? dx_option_read(o, o->preset, config) : NULL;

    assert(!e);
    dx_error_free(e);
  }
}

const dx_option *dx_option_find(const dx_option *table, const char *key)
{
  for (const dx_option *o = table; o->key; o++)
    if (!strcmp(o->key, key)) return o;
  return NULL;
}

/* "a, b or c" of "a|b|c"; what follows a '=' is left out. */
static void put_list(writer *w, const char *list)
{
  const char *start;
  int n;

  for (bool first = true; (n = piece(&list, &start)) > 0; first = false)
    put(w, "%s%.*s", first ? "" : *list ? ", " : " or ", least(n, (int)strcspn(start, "=|")), start);
}

static void put_bounds(writer *w, double lo, double hi, double limit)
{
  const bool below = lo > -limit, above = hi < limit; /* at the limit of the type: no bound */
  const bool positive = lo > 0 && lo < 1e-100;

  if (positive) put(w, " above 0");
  else if (below) {
    put(w, above ? " from " : " of at least ");
    put_digits(w, lo);
  }
  if (!above) return;
  put(w, positive ? " up to " : below ? " to " : " of at most ");
  put_digits(w, hi);
}

int dx_option_allowed(const dx_option *o, char *text, size_t room)
{
  writer w = {text, room, 0};

  switch (o->type) {
  case DX_INT: put(&w, "a whole number"); break;
  case DX_REAL:
  case DX_REALS: put(&w, "a number"); break;
  case DX_BOOL: put(&w, "true or false"); break;
  case DX_INTS: put(&w, "a list of up to %d whole numbers", DX_INTS_MAX); break;
  case DX_TEXT:
    if (o->choices) put_list(&w, o->choices);
    else put(&w, "text of up to %zu bytes", o->room - 1);
    break;
  }
  if (o->type == DX_REAL || o->type == DX_REALS) put_bounds(&w, o->lo, o->hi, DBL_MAX);
  if (o->type == DX_INT || o->type == DX_INTS) put_bounds(&w, o->lo, o->hi, 0x1p63);
  if (o->type == DX_REALS) put(&w, ", or a list of up to %d of them", DX_REALS_MAX);
  if (o->words) {
    put(&w, ", or ");
    put_list(&w, o->words);
  }
  return w.used;
}
