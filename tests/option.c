/* SPDX-License-Identifier: Apache-2.0 */
/* tests/option.c - options: what is taken, what is refused and how, and that prints read back. */
#include "base/option.h"
#include "base/random.h"
#include "experiment.h"
#include "tap.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int64_t steps, threads, any;
  double rate, limit, wide;
  bool flip;
  char kind[16], name[8];
  dx_ints sizes;
  dx_reals decays;
} config;

static const dx_option options[] = {
  DX_OPTION(config, steps,   NULL,     1, 1e9, "optimizer steps"),
  DX_OPTION(config, threads, "auto",   1, 64,  "threads", .words = "auto=0|all=-1"),
  DX_OPTION(config, any,     "0",      -INFINITY, INFINITY, "any whole number"),
  DX_OPTION(config, rate,    "1e-3",   0, 1,   "learning rate"),
  DX_OPTION(config, limit,   "none",   DBL_MIN, 100, "hours", .words = "none=inf"),
  DX_OPTION(config, wide,    "0",      -INFINITY, INFINITY, "any number"),
  DX_OPTION(config, flip,    "true",   0, 0,   "mirror half of the images"),
  DX_OPTION(config, kind,    "linear", 0, 0,   "schedule", .choices = "linear|cosine|sigmoid"),
  DX_OPTION(config, name,    "",       0, 0,   "name of the run"),
  DX_OPTION(config, sizes,   "[1, 2]", 0, 64,  "blocks"),
  DX_OPTION(config, decays,  "none",   0, 1,   "of averages", .words = "none=0"),
  DX_OPTION_END
};

static const dx_option *row(const char *key) { return dx_option_find(options, key); }

/* "" if the option takes the text, else the words of the error. */
static const char *verdict(const char *key, const char *text, config *c)
{
  static char words[2048];
  dx_error *e = dx_option_read(row(key), text, c);

  snprintf(words, sizeof words, "%s", e ? dx_error_text(e) : "");
  dx_error_free(e);
  return words;
}

static void check_presets(void)
{
  config c = {.steps = 77};

  dx_option_presets(options, &c);
  ok(c.threads == 0 && c.any == 0 && c.rate == 1e-3 && c.limit == INFINITY && c.flip &&
     !strcmp(c.kind, "linear") && !strcmp(c.name, "") && c.sizes.n == 2 && c.sizes.v[1] == 2,
     "presets of all types");
  ok(c.steps == 77, "a row without a preset is left alone");
  ok(row("rate") == &options[3] && !row("rat") && !row(""), "find");
}

static void check_whole(void)
{
  static const struct { const char *text; int64_t v; } good[] = {
    {"800000", 800000}, {"8e5", 800000}, {"8E+5", 800000}, {"1.5e3", 1500}, {"+7", 7}, {"-0", 0},
    {"120e-1", 12}, {"12.0", 12}, {"0e999999999999", 0}, {"010", 10}, {".5e1", 5}, {"1.250e2", 125},
    {"9223372036854775807", INT64_MAX}, {"-9223372036854775808", INT64_MIN},
    {"9.223372036854775807e18", INT64_MAX}, {"9007199254740993", 9007199254740993}};
  static const char *const bad[] = {
    "", " ", "x", "12x", "1 2", " 1", "1 ", "0x10", "1_000", "1,000", "1.5", "15e-1", "1e", "e5", ".",
    "--1", "+-1", "nan", "inf", ".inf", "[1]", "true", "1e-400", "9223372036854775808",
    "-9223372036854775809", "1e19", "1e400", "1e99999999999999999999", "auto=0", "1..2", "1e5.0"};
  config c = {0};

  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    ok(!*verdict("any", good[i].text, &c) && c.any == good[i].v, "whole number %s", good[i].text);
  c.any = 5;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ok(*verdict("any", bad[i], &c) && c.any == 5, "not a whole number: '%s'", bad[i]);
  ok(!strcmp(verdict("any", "1e19", &c), "is 1e19, too large; allowed: a whole number"), "too large");
  ok(!strcmp(verdict("steps", "1.5", &c),
             "is 1.5, not whole; allowed: a whole number from 1 to 1000000000"), "not whole");
  ok(*verdict("steps", "0", &c) && *verdict("steps", "1000000001", &c) &&
     !*verdict("steps", "1e9", &c) && c.steps == 1000000000, "bounds");
}

static void check_real(void)
{
  static const char *const bad[] = {
    "", "x", "1.0x", "1e400", "-1e400", "nan", "NaN", ".nan", "inf", ".inf", "-inf", "infinity", "0x1p3",
    "1e-400", "1,5", "1e", "1 ", "0.1.2", "[1]", "~"};
  config c = {0};

  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ok(*verdict("wide", bad[i], &c), "not a number: '%s'", bad[i]);
  ok(!strcmp(verdict("wide", "1e400", &c), "is 1e400, too large; allowed: a number"), "overflow named");
  ok(!strcmp(verdict("rate", "-1", &c), "is -1; allowed: a number from 0 to 1"), "below the bound");
  ok(!strcmp(verdict("limit", "0", &c), "is 0; allowed: a number above 0 up to 100, or none"),
     "above 0, or a word");
  ok(!*verdict("wide", "5e-324", &c) && c.wide == 5e-324, "the smallest number");
  ok(!*verdict("limit", "none", &c) && c.limit == INFINITY, "a word beyond the bounds");
  ok(*verdict("threads", "aut", &c) && strstr(verdict("threads", "aut", &c), "did you mean auto?"),
     "a word nearly met");
  ok(*verdict("threads", "auto=0|all", &c), "a piece of the list is no word");
}

static void check_others(void)
{
  static const char *const yes[] = {"true", "True", "yes", "on", "ON"};
  static const char *const no[] = {"false", "no", "off", "FALSE"};
  config c = {0};

  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
    ok(!*verdict("flip", yes[i], &c) && c.flip, "%s is true", yes[i]);
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    ok(!*verdict("flip", no[i], &c) && !c.flip, "%s is false", no[i]);
  ok(!strcmp(verdict("flip", "1", &c), "is 1; allowed: true or false"), "1 is not true");
  ok(!strcmp(verdict("kind", "cosin", &c),
             "is cosin; allowed: linear, cosine or sigmoid; did you mean cosine?"), "choices, nearest");
  ok(*verdict("kind", "linear|cosine", &c) && *verdict("kind", "", &c), "not a choice");
  ok(!*verdict("name", "abcdefg", &c) && !strcmp(c.name, "abcdefg"), "a text that just fits");
  ok(!strcmp(verdict("name", "abcdefgh", &c), "is abcdefgh, too long; allowed: text of up to 7 bytes") &&
     !strcmp(c.name, "abcdefg"), "a text too long");
  ok(*verdict("sizes", "[3, auto]", &c), "a word in a list of numbers");
  ok(!*verdict("sizes", "[ 3 ,4e0, 5 ]", &c) && c.sizes.n == 3 && c.sizes.v[2] == 5, "a list");
  ok(!*verdict("sizes", "[]", &c) && c.sizes.n == 0, "an empty list");
  ok(!*verdict("sizes", "16", &c) && c.sizes.n == 1 && c.sizes.v[0] == 16, "a list of one");
  ok(*verdict("sizes", "[1, 65]", &c) && *verdict("sizes", "[1,,2]", &c) && *verdict("sizes", "[", &c) &&
     *verdict("sizes", "[1", &c) && *verdict("sizes", "1, 2", &c), "lists with mistakes");
  ok(strstr(verdict("sizes", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", &c), "too many") &&
     !*verdict("sizes", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", &c), "a list of 16 and one of 17");
}

static void check_reals(void)
{
  config c = {0};

  ok(!*verdict("decays", "0.999", &c) && c.decays.n == 1 && c.decays.v[0] == 0.999, "one real is a list of one");
  ok(!*verdict("decays", "[0.9, 1e-3 ,.5]", &c) && c.decays.n == 3 && c.decays.v[1] == 1e-3 && c.decays.v[2] == 0.5, "a list of reals");
  ok(!*verdict("decays", "none", &c) && c.decays.n == 1 && c.decays.v[0] == 0, "a word in place of a list");
  ok(*verdict("decays", "[0.9, 1.1]", &c) && *verdict("decays", "[0.9,,1]", &c) && *verdict("decays", "[0.9, x]", &c) &&
     *verdict("decays", "0.9, 1", &c) && c.decays.n == 1, "lists of reals with mistakes");
  ok(!strcmp(verdict("decays", "[1,1,1,1,1,1,1,1,1]", &c), "is [1,1,1,1,1,1,1,1,1], too many numbers; allowed: a number from 0 to 1, "
     "or a list of up to 8 of them, or none"), "nine of at most eight");
}

/* Print, read into another struct, compare the bits of the field. */
static bool round_trip(const char *key, const config *c, char *text, size_t room)
{
  const dx_option *o = row(key);
  size_t size = o->room;
  config back;

  memset(&back, 0x5a, sizeof back);
  if ((size_t)dx_option_print(o, c, text, room) >= room || *verdict(key, text, &back)) return false;
  if (o->type == DX_INTS) size = sizeof(int64_t) * (size_t)(1 + c->sizes.n);
  if (o->type == DX_REALS) size = sizeof(int64_t) + sizeof(double) * (size_t)c->decays.n;
  if (o->type == DX_TEXT) size = strlen(c->name) + 1;
  return !memcmp((const char *)c + o->at, (const char *)&back + o->at, size);
}

static bool prints(const char *key, const config *c, const char *text)
{
  char room[400];

  if (round_trip(key, c, room, sizeof room) && !strcmp(room, text)) return true;
  printf("# %s prints %s, not %s\n", key, room, text);
  return false;
}

static void check_print(void)
{
  static const struct { double v; const char *text; } reals[] = {
    {0, "0"}, {-0.0, "-0"}, {1, "1"}, {0.1, "0.1"}, {1e-4, "0.0001"}, {2e-5, "2.0e-05"},
    {128, "128"}, {1.25e-7, "1.25e-07"}, {800000, "800000"}, {1e14, "100000000000000"},
    {1e15, "1.0e+15"}, {DBL_MAX, "1.7976931348623157e+308"}, {5e-324, "5.0e-324"},
    {1.0 / 3, "0.3333333333333333"}, {123456789.125, "123456789.125"}};
  config c = {.threads = -1, .limit = INFINITY, .sizes = {3, {1, 2, 64}}};
  char text[8];

  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
    c.wide = reals[i].v;
    ok(prints("wide", &c, reals[i].text), "prints %s", reals[i].text);
  }
  ok(prints("threads", &c, "all") && prints("limit", &c, "none"), "words are printed back");
  c.threads = 3, c.limit = 0.5, c.any = INT64_MIN;
  ok(prints("threads", &c, "3") && prints("limit", &c, "0.5") && prints("any", &c, "-9223372036854775808"),
     "numbers beside words");
  ok(prints("sizes", &c, "[1, 2, 64]") && prints("flip", &c, "false"), "a list, a bool");
  c.decays = (dx_reals){3, {0.999, 0.9999, 2e-5}};
  ok(prints("decays", &c, "[0.999, 0.9999, 2.0e-05]"), "a list of reals");
  c.decays.n = 1;
  ok(prints("decays", &c, "0.999"), "one of them stands alone");
  c.decays.v[0] = 0;
  ok(prints("decays", &c, "none"), "or as its word");
  snprintf(c.name, sizeof c.name, "a: 'b'");
  ok(prints("name", &c, "a: 'b'"), "a text");
  ok(dx_option_print(row("sizes"), &c, text, sizeof text) == 10 && !strcmp(text, "[1, 2, "),
     "cut like snprintf");
}

/* Digits that say something: not leading or trailing zeros, nor the power. */
static int digits_of(const char *text)
{
  int n = 0, zeros = 0;

  for (const char *c = text; *c && *c != 'e'; c++) {
    if (*c == '0' && n + zeros > 0) zeros++;
    if (*c >= '1' && *c <= '9') n += zeros + 1, zeros = 0;
  }
  return n;
}

/* Fewest significant digits that read back to v. */
static int digits_needed(double v)
{
  char text[64];

  for (int n = 1; n < 17; n++) {
    snprintf(text, sizeof text, "%.*e", n - 1, v);
    if (strtod(text, NULL) == v) return n;
  }
  return 17;
}

static void check_random_numbers(void)
{
  const dx_stream s = {.seed = 3, .purpose = DX_FOR_TEST};
  int bad = 0, longer = 0, count = 0;
  char text[64];
  uint32_t w[4];
  config c = {0};

  for (uint32_t i = 0; i < 5000; i++) {
    dx_stream_words(&s, i, w);
    memcpy(&c.wide, w, 8);
    memcpy(&c.any, w + 2, 8);
    if (i % 2) c.wide = (double)(w[0] % 100000) * pow(10, (double)(w[1] % 40) - 20);
    c.any >>= w[1] % 64;
    if (!isfinite(c.wide)) continue;
    count++;
    if (!round_trip("wide", &c, text, sizeof text) || !round_trip("any", &c, text, sizeof text)) bad++;
    dx_option_print(row("wide"), &c, text, sizeof text);
    if (digits_of(text) > digits_needed(c.wide)) longer++;
  }
  ok(count > 4000 && bad == 0, "%d random numbers read back to the same bits (%d do not)", count, bad);
  ok(longer == 0, "none with more digits than it needs");
}

static void check_names(void)
{
  char shown[DX_SHOWN], accents[200] = "";

  ok(dx_text_distance("", "abc") == 3 && dx_text_distance("dropot", "dropout") == 1 &&
     dx_text_distance("rtae", "rate") == 1 && dx_text_distance("kitten", "sitting") == 3 &&
     dx_text_distance("rate", "rate") == 0, "distances");
  memset(accents, 'x', 150);
  ok(dx_text_distance(accents, "rate") == 150 && dx_text_near(accents, "rate") == -1, "long texts are far");
  ok(dx_text_near("stpes", "steps") == 1 && dx_text_near("Rate", "rate") == 0 &&
     dx_text_near("log-every", "log_every") == 0, "typing slips, case, dashes");
  ok(dx_text_near("batch_size", "batch") == 2 && dx_text_near("checkpoint", "checkpoint_every") == 2,
     "a word of the other");
  ok(dx_text_near("ab", "cd") == -1 && dx_text_near("rate", "name") == -1 &&
     dx_text_near("", "a") == -1 && dx_text_near("x", "t") == -1, "too far for the length");
  ok(!strcmp(dx_text_show("a b", shown), "\"a b\"") && !strcmp(dx_text_show("", shown), "\"\"") &&
     !strcmp(dx_text_show("a\x1b[", shown), "a?["), "shown");
  for (int i = 0; i < 75; i++) memcpy(accents + 2 * i, "\xc3\xa9", 2);
  dx_text_show(accents, shown);
  ok(strlen(shown) <= 60 && !strcmp(shown + strlen(shown) - 5, "\xc3\xa9..."), "cut between characters");
}

static void check_allowed(void)
{
  static const struct { const char *key, *text; } words[] = {
    {"steps", "a whole number from 1 to 1000000000"}, {"threads", "a whole number from 1 to 64, or auto or all"},
    {"any", "a whole number"}, {"limit", "a number above 0 up to 100, or none"}, {"wide", "a number"},
    {"flip", "true or false"}, {"kind", "linear, cosine or sigmoid"}, {"name", "text of up to 7 bytes"},
    {"sizes", "a list of up to 16 whole numbers from 0 to 64"},
    {"decays", "a number from 0 to 1, or a list of up to 8 of them, or none"}};
  char text[128];

  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    dx_option_allowed(row(words[i].key), text, sizeof text);
    ok(!strcmp(text, words[i].text), "%s takes %s", words[i].key, text);
  }
  ok(dx_option_allowed(row("steps"), text, 5) == 35 && !strcmp(text, "a wh"), "cut like snprintf");
}

/* Words of other programs, of every option that diffx has, lead to words that it takes; none is one of its own. */
static void check_hints(void)
{
  static char field[1 << 18];
  dx_section sections[DX_SECTIONS];
  const int n = dx_all_sections(sections);
  int pairs = 0, wrong = 0;

  for (int i = 0; i < n; i++)
    for (const dx_option *o = sections[i].options; o->key; o++) {
      char *const list = o->elsewhere ? strdup(o->elsewhere) : NULL;

      for (char *pair = list ? strtok(list, "|") : NULL; pair; pair = strtok(NULL, "|"), pairs++) {
        char *const ours = strchr(pair, '=');

        if (ours) *ours = '\0';
        dx_error *const theirs = dx_option_read(o, pair, field), *const refused = ours ? dx_option_read(o, ours + 1, field) : theirs;
        char words[128];

        snprintf(words, sizeof words, "did you mean %s?", ours ? ours + 1 : "");
        const bool hint = theirs && strstr(dx_error_text(theirs), words);

        if (refused || !hint) printf("# %s: %s: %s\n", o->key, pair, theirs ? dx_error_text(theirs) : "taken");
        wrong += refused || !hint;
        if (refused != theirs) dx_error_free(refused);
        dx_error_free(theirs);
      }
      free(list);
    }
  ok(pairs >= 10 && wrong == 0, "%d words of other programs", pairs);
}

int main(void)
{
  check_presets();
  check_whole();
  check_real();
  check_others();
  check_reals();
  check_print();
  check_random_numbers();
  check_names();
  check_allowed();
  check_hints();
  return done();
}
