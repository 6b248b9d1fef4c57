/* SPDX-License-Identifier: Apache-2.0 */
/* tests/config.c - experiment files: each refusal with its place and key, round trips, damaged files. */
#include "config/config.h"
#include "base/random.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int64_t seed; char name[32], output[64]; } top_config;
typedef struct { int64_t steps, batch, log_every; double rate; bool shuffle; char init_from[64]; } train_config;
typedef struct { char kind[16]; } model_config;
typedef struct { int64_t hidden, layers; } mlp_config;
typedef struct { int64_t channels; dx_ints multipliers; } unet_config;
typedef struct { int64_t threads; } run_config;

static const dx_option top_options[] = {
  DX_OPTION(top_config, name,   NULL,   0, 0,   "name of the run"),
  DX_OPTION(top_config, seed,   "1",    0, 1e9, "seed of all random numbers"),
  DX_OPTION(top_config, output, "runs", 0, 0,   "folder | of the run", .role = DX_RUN),
  DX_OPTION_END
};
static const dx_option train_options[] = {
  DX_OPTION(train_config, steps,     NULL,   1, 1e9, "optimizer steps", .role = DX_FREE),
  DX_OPTION(train_config, batch,     "64",   1, 1e6, "examples in a step"),
  DX_OPTION(train_config, log_every, "100",  1, 1e9, "steps between rows of the record", .role = DX_FREE),
  DX_OPTION(train_config, rate,      "1e-3", 0, 1,   "learning rate"),
  DX_OPTION(train_config, shuffle,   "true", 0, 0,   "another order in each epoch"),
  DX_OPTION(train_config, init_from, "",     0, 0,   "checkpoint to take the weights from", .before = "none"),
  DX_OPTION_END
};
static const dx_option model_options[] = {
  DX_OPTION(model_config, kind, "mlp", 0, 0, "which network", .choices = "mlp|unet|exact"), DX_OPTION_END};
static const dx_option mlp_options[] = {
  DX_OPTION(mlp_config, hidden, "128", 1, 4096, "width of a layer"),
  DX_OPTION(mlp_config, layers, "3",   1, 64,   "number of layers"), DX_OPTION_END};
static const dx_option unet_options[] = {
  DX_OPTION(unet_config, channels,    "128",    1, 4096, "channels of the first block"),
  DX_OPTION(unet_config, multipliers, "[1, 2]", 1, 64,   "channels of each level, relative"), DX_OPTION_END};
static const dx_option run_options[] = {
  DX_OPTION(run_config, threads, "auto", 1, 1024, "threads of a rank", .words = "auto=0", .role = DX_RUN),
  DX_OPTION_END};

typedef struct {
  top_config top;
  train_config train;
  model_config model;
  mlp_config mlp;
  unet_config unet;
  run_config run;
} experiment;

enum { SECTIONS = 6 };

/* The sections of an experiment, with the model that the keys choose. */
static void choose(const dx_keys *keys, experiment *x, dx_section s[SECTIONS])
{
  const char *kind = dx_keys_text(keys, "model.kind");
  const bool unet = kind && !strcmp(kind, "unet"), mlp = !kind || !strcmp(kind, "mlp");

  s[0] = (dx_section){"", top_options, &x->top, NULL};
  s[1] = (dx_section){"train", train_options, &x->train, NULL};
  s[2] = (dx_section){"model", model_options, &x->model, NULL};
  s[3] = (dx_section){"model", mlp_options, mlp ? &x->mlp : NULL, "model.kind: mlp"};
  s[4] = (dx_section){"model", unet_options, unet ? &x->unet : NULL, "model.kind: unet"};
  s[5] = (dx_section){"run", run_options, &x->run, NULL};
}

/* Debug builds add " [file:line]" to some texts. */
static bool same_words(const char *found, const char *expected)
{
  const size_t n = strlen(expected);

  if (!strncmp(found, expected, n) && (!found[n] || !strncmp(found + n, " [", 2))) return true;
  printf("# found:    %s\n# expected: %s\n", found, expected);
  return false;
}

/* Does e say exactly this? Frees it. */
static bool says(dx_error *e, dx_code code, const char *expected)
{
  const bool good = e && dx_error_code(e) == code && same_words(dx_error_text(e), expected);

  if (!e) printf("# no error; expected: %s\n", expected);
  dx_error_free(e);
  return good;
}

static bool fine(dx_error *e)
{
  if (e) printf("# %s\n", dx_error_text(e));
  dx_error_free(e);
  return e == NULL;
}

static dx_error *parse(const char *text, dx_keys **out) { return dx_keys_parse("p.yaml", text, strlen(text), out); }

/* The whole way: the file, the command line (ends with NULL), the structs. */
static dx_error *load(const char *text, const char *const *assignments, experiment *x)
{
  dx_section s[SECTIONS];
  dx_keys *keys = NULL;
  dx_error *err;

  memset(x, 0, sizeof *x);
  DX_TRY(parse(text, &keys));
  for (; assignments && *assignments; assignments++)
    DX_TRY_GOTO(err, out, dx_keys_assign(keys, *assignments));
  choose(keys, x, s);
  err = dx_keys_fill(keys, s, SECTIONS);
out:
  dx_keys_destroy(keys);
  return err;
}

static const char good_text[] =
  "# an experiment\n"
  "name: points\n"
  "seed: 7\n"
  "train:\n"
  "  steps: 8e5\n"
  "  rate: 2.0e-4   # small\n"
  "  shuffle: no\n"
  "  init_from: \"a: 'b'\\n\\u00e9\"\n"
  "model: {kind: unet, channels: 64, multipliers: [1, 2,\n"
  "  2, 4]}\n";

static void check_good(void)
{
  static const char *const line[] = {"train.steps=200", "run.threads=4", "model.multipliers=[3]",
                                     "output=/scratch/a b", "train.steps=300", NULL};
  dx_keys *keys = NULL;
  experiment x;

  ok(fine(load(good_text, NULL, &x)), "a good file");
  ok(x.top.seed == 7 && !strcmp(x.top.name, "points") && !strcmp(x.top.output, "runs") &&
     x.train.steps == 800000 && x.train.rate == 2e-4 && !x.train.shuffle && x.train.batch == 64 &&
     !strcmp(x.train.init_from, "a: 'b'\n\xc3\xa9"), "its values and presets");
  ok(x.unet.channels == 64 && x.unet.multipliers.n == 4 && x.unet.multipliers.v[3] == 4 && x.mlp.hidden == 0,
     "the chosen model is filled, the other is not");
  ok(fine(load(good_text, line, &x)) && x.train.steps == 300 && x.run.threads == 4 &&
     x.unet.multipliers.n == 1 && !strcmp(x.top.output, "/scratch/a b"), "the command line goes last");
  ok(fine(load("train.steps: 5\nname: 2024\nmodel:\n  kind: unet\n  multipliers:\n  - 1\n  - 5\n", NULL, &x)) &&
     x.train.steps == 5 && x.unet.multipliers.v[1] == 5 && !strcmp(x.top.name, "2024"),
     "names with points, lists in lines, a number as a name");
  ok(fine(parse(good_text, &keys)) && fine(dx_keys_assign(keys, "seed=3")), "parse");
  ok(!strcmp(dx_keys_place(keys, "train.rate"), "p.yaml:6") && !strcmp(dx_keys_place(keys, "seed"), "command line") &&
     !strcmp(dx_keys_place(keys, "train.batch"), "preset"), "places");
  ok(!strcmp(dx_keys_text(keys, "model.multipliers"), "[1, 2, 2, 4]") && !strcmp(dx_keys_text(keys, "train.steps"), "8e5") &&
     !dx_keys_text(keys, "train") && !dx_keys_text(keys, "train.batch"), "texts");
  ok(says(dx_keys_both(dx_keys_wrong(keys, "train.rate", "is %d, more than %s", 3, "two"),
                       dx_keys_both(NULL, dx_keys_wrong(keys, "train.batch", "is %d", 64))),
          DX_E_CONFIG, "p.yaml:6: train.rate is 3, more than two\np.yaml: train.batch (preset) is 64"),
     "wrong for a caller, two at once");
  ok(says(dx_keys_wrong(keys, "seed", "is odd"), DX_E_CONFIG, "command line: seed is odd") &&
     dx_keys_both(NULL, NULL) == NULL, "wrong on the command line");
  dx_keys_destroy(keys);
  dx_keys_destroy(NULL);
}

static void check_refused_files(void)
{
  static const struct { const char *what, *text, *words; } files[] = {
    {"empty", "", "p.yaml:1:1: empty: no keys at all"},
    {"only a comment", "# nothing\n\n", "p.yaml:3:1: empty: no keys at all"},
    {"only a mark", "---\n", "p.yaml:2:1: empty: no keys at all"},
    {"a word", "hello\n", "p.yaml:1:1: expected 'key: value'"},
    {"a list", "- a\n- b\n", "p.yaml:1:1: expected 'key: value'"},
    {"a line without a colon", "seed: 1\nbatch 5\nname: a\n", "p.yaml:2:1: not YAML: expected 'key: value'"},
    {"a tab", "train:\n\tsteps: 1\n", "p.yaml:2:1: not YAML: a tab; indent with blanks"},
    {"an open bracket", "train: {steps: 1,\nseed: 2\n",
     "p.yaml:3:1: not YAML: while parsing a flow mapping that begins in line 1, did not find expected ',' or '}'"},
    {"a colon too much", "name: a: b\n", "p.yaml:1:8: not YAML: mapping values are not allowed in this context"},
    {"control characters", "seed: 1\nname: a\x01\n", "p.yaml:2:8: not a text file: the control character 0x01"},
    {"Latin-1", "name: caf\xe9\n", "p.yaml:1:10: not a text file: the byte 0xE9 is not UTF-8"},
    {"half a character", "name: caf\xc3", "p.yaml:1:10: not a text file: the byte 0xC3 is not UTF-8"},
    {"an overlong character", "name: \xc0\xaf", "p.yaml:1:7: not a text file: the byte 0xC0 is not UTF-8"},
    {"half a pair", "name: \xed\xa0\x80", "p.yaml:1:7: not a text file: the byte 0xED is not UTF-8"},
    {"too deep", "train:\n  rate:\n    x: 1\n", "p.yaml:3:5: train.rate is a mapping; only sections at the top hold keys"},
    {"a list of lists", "model:\n  multipliers: [1, [2]]\n", "p.yaml:2:20: model.multipliers: a list holds single values only"},
    {"a list of mappings", "model:\n  multipliers: [a: 1]\n", "p.yaml:2:17: model.multipliers: a list holds single values only"},
    {"a key twice", "seed: 1\nname: a\nseed: 2\n", "p.yaml:3:1: seed stands twice, first in line 1"},
    {"a section twice", "train: {steps: 1}\ntrain: {batch: 2}\n", "p.yaml:2:1: train stands twice, first in line 1"},
    {"a key twice by two names", "train: {steps: 1}\ntrain.steps: 2\n", "p.yaml:2:1: train.steps stands twice, first in line 1"},
    {"an anchor", "seed: 1\nname: &a b\n", "p.yaml:2:7: anchors and aliases (&name, *name) are not taken; write the value out"},
    {"an anchored section", "train: &t {steps: 1}\n", "p.yaml:1:8: anchors and aliases (&name, *name) are not taken; write the value out"},
    {"an alias", "seed: *a\n", "p.yaml:1:7: anchors and aliases (&name, *name) are not taken; write the value out"},
    {"a merge key", "train:\n  <<: *base\n", "p.yaml:2:7: anchors and aliases (&name, *name) are not taken; write the value out"},
    {"a tag", "seed: !!int 3\n", "p.yaml:1:7: tags (!name) are not taken"},
    {"a tagged list", "model: {multipliers: !x [1]}\n", "p.yaml:1:22: tags (!name) are not taken"},
    {"two documents", "seed: 1\n---\nseed: 2\n", "p.yaml:2:1: a second document begins here; an experiment is one"},
    {"a list as a key", "? [a]\n: 1\n", "p.yaml:1:3: a key must be a single word"},
    {"a mapping as a key", "{a: 1}: 2\n", "p.yaml:1:1: a key must be a single word"},
    {"an empty key", "{seed: 1, '': 2}\n", "p.yaml:1:11: a key must be a single word"},
    {"a NUL in a text", "name: \"a\\0b\"\n", "p.yaml:1:7: a NUL character in a text"},
    {"a wrong escape", "name: \"a\\qb\"\n", "p.yaml:1:9: not YAML: while parsing a quoted scalar, found unknown escape character"},
  };
  dx_keys *keys = (dx_keys *)&keys;

  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    ok(says(parse(files[i].text, &keys), DX_E_CONFIG, files[i].words), "refused: %s", files[i].what);
  ok(says(dx_keys_parse("p.yaml", "a: 1\nb\0: 2", 10, &keys), DX_E_CONFIG,
          "p.yaml:2:2: not a text file: the control character 0x00"), "refused: a NUL");
  ok(says(dx_keys_parse("p.yaml", "\xff\xfe""a\0:\0", 6, &keys), DX_E_CONFIG,
          "p.yaml:1:1: not a text file: the byte 0xFF is not UTF-8"), "refused: UTF-16");
  ok(says(dx_keys_parse("p.yaml", "\x89HDF\r\n\x1a\n", 8, &keys), DX_E_CONFIG,
          "p.yaml:1:1: not a text file: the byte 0x89 is not UTF-8"), "refused: an HDF5 file");
  ok(keys == (dx_keys *)&keys, "nothing is handed out after a refusal");
}

/* A piece many times over between two ends; malloc'd. */
static char *many(const char *first, const char *piece, int count, const char *last)
{
  char *text = malloc(strlen(first) + (size_t)count * (strlen(piece) + 8) + strlen(last) + 1);
  char *at = text;

  if (!text) exit(99);
  at += sprintf(at, "%s", first);
  for (int i = 0; i < count; i++) at += sprintf(at, piece, i);
  sprintf(at, "%s", last);
  return text;
}

static void check_big_files(void)
{
  char *deep = many("a: ", "[", 100000, ""), *wide = many("", "k%d: 1\n", 5000, "");
  char *large = many("# ", "xxxxxxxxxxxxxxxx", 70000, ""), *unknown = many("", "k%d: 1\n", 200, "");
  char *longest = many("", "k", 2000, ": 1\n");
  dx_keys *keys = NULL;
  experiment x;
  dx_error *e;

  ok(says(parse(deep, &keys), DX_E_CONFIG, "p.yaml:1:5: a: a list holds single values only"), "100000 brackets");
  ok(says(parse(wide, &keys), DX_E_CONFIG, "p.yaml:4097:1: more than 4096 keys"), "5000 keys");
  ok(says(parse(large, &keys), DX_E_CONFIG, "p.yaml: 1120002 bytes are too many for an experiment, at most 1048576"),
     "over 1 MiB");
  e = load(unknown, NULL, &x);
  ok(e && strstr(dx_error_text(e), "\n... and 152 more"), "50 of 202 mistakes are shown");
  dx_error_free(e);
  e = load(longest, NULL, &x);
  ok(e != NULL, "a key of 2000 characters");
  dx_error_free(e);
  free(deep);
  free(wide);
  free(large);
  free(unknown);
  free(longest);
}

static void check_values(void)
{
#define TRAIN "name: a\ntrain:\n  steps: 5\n"
  static const struct { const char *text, *words; } files[] = {
    {TRAIN "  rate: -1\n", "p.yaml:4: train.rate is -1; allowed: a number from 0 to 1"},
    {TRAIN "  rate: 1e-3x\n", "p.yaml:4: train.rate is 1e-3x; allowed: a number from 0 to 1"},
    {TRAIN "  rate: .nan\n", "p.yaml:4: train.rate is .nan; allowed: a number from 0 to 1"},
    {TRAIN "  rate: -.inf\n", "p.yaml:4: train.rate is -.inf; allowed: a number from 0 to 1"},
    {TRAIN "  rate: 1e400\n", "p.yaml:4: train.rate is 1e400, too large; allowed: a number from 0 to 1"},
    {TRAIN "  batch: 9223372036854775808\n",
     "p.yaml:4: train.batch is 9223372036854775808, too large; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  batch: 1.5\n", "p.yaml:4: train.batch is 1.5, not whole; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  batch: [64]\n", "p.yaml:4: train.batch is a list, [64]; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  batch:\n", "p.yaml:4: train.batch has no value; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  batch: ~\n", "p.yaml:4: train.batch has no value; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  batch: ''\n", "p.yaml:4: train.batch is \"\"; allowed: a whole number from 1 to 1000000"},
    {TRAIN "  shuffle: 1\n", "p.yaml:4: train.shuffle is 1; allowed: true or false"},
    {TRAIN "output: [a]\n", "p.yaml:4: output is a list, [a]; allowed: text of up to 63 bytes"},
    {TRAIN "output: null\n", "p.yaml:4: output has no value; allowed: text of up to 63 bytes"},
    {TRAIN "seed: {a: 1, b: 2}\n", "p.yaml:4: seed is a mapping; allowed: a whole number from 0 to 1000000000"},
    {TRAIN "seed: {}\n", "p.yaml:4: seed is a mapping; allowed: a whole number from 0 to 1000000000"},
    {TRAIN "run: 5\n", "p.yaml:4: run is a section; expected keys below it"},
    {TRAIN "run:\n", "p.yaml:4: run is a section without keys; put some below it or leave it out"},
    {TRAIN "rnu: {threads: 5, x: 3}\n", "p.yaml:4: rnu is not a section; did you mean run?"},
    {TRAIN "quite: {different: 5}\n", "p.yaml:4: quite is not a section; there are train, model, run"},
    {TRAIN "model: {kind: unett, channels: 5}\n",
     "p.yaml:4: model.kind is unett; allowed: mlp, unet or exact; did you mean unet?"},
    {TRAIN "model: {kind: unet, multipliers: [1, x]}\n",
     "p.yaml:4: model.multipliers is [1, x]; allowed: a list of up to 16 whole numbers from 1 to 64"},
    {TRAIN "model: {kind: unet, multipliers: ['1, 2']}\n",
     "p.yaml:4: model.multipliers is [\"1, 2\"]; allowed: a list of up to 16 whole numbers from 1 to 64"},
    {TRAIN "run: {threads: aut}\n",
     "p.yaml:4: run.threads is aut; allowed: a whole number from 1 to 1024, or auto; did you mean auto?"},
    {TRAIN "output: 0123456789012345678901234567890123456789012345678901234567890123\n",
     "p.yaml:4: output is 012345678901234567890123456789012345678901234567890123456..., too long; "
     "allowed: text of up to 63 bytes"},
    {"name: a\n", "p.yaml: train.steps is missing (optimizer steps); allowed: a whole number from 1 to 1000000000"},
    {TRAIN "train.rate: 5\n", "p.yaml:4: train.rate is 5; allowed: a number from 0 to 1"},
    {TRAIN ".seed: 5\n", "p.yaml:4: .seed is not a key; did you mean seed?"},
  };
  experiment x;

  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    ok(says(load(files[i].text, NULL, &x), DX_E_CONFIG, files[i].words), "%s", files[i].words);
}

static void check_names(void)
{
  static const struct { const char *key, *meant; } keys[] = {
    {"train.rtae", "; did you mean train.rate?"}, {"train.step", "; did you mean train.steps?"},
    {"rate", "; did you mean train.rate?"}, {"model.rate", "; did you mean train.rate?"},
    {"trian.steps", "; did you mean train.steps?"}, {"trian.stpes", "; did you mean train.steps?"},
    {"nmae", "; did you mean name?"}, {"Seed", "; did you mean seed?"}, {"learning_rate", "; did you mean train.rate?"},
    {"train.batch_size", "; did you mean train.batch?"}, {"train.log-every", "; did you mean train.log_every?"},
    {"model.hiden", "; did you mean model.hidden?"}, {"model.chanels", "; did you mean model.channels (only with model.kind: unet)?"},
    {"train.zzz", "; there are steps, batch, log_every, rate, shuffle, init_from"},
    {"model.zzz", "; there are kind, hidden, layers"}, {"zzz", "; there are name, seed, output, and sections train, model, run"}, {"zzz.yyy", "; there are sections train, model, run"}};
  experiment x;

  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    char text[200], words[200];

    snprintf(text, sizeof text, "name: a\ntrain.steps: 1\n%s: 5\n", keys[i].key);
    snprintf(words, sizeof words, "p.yaml:3: %s is not a key%s", keys[i].key, keys[i].meant);
    ok(says(load(text, NULL, &x), DX_E_CONFIG, words), "%s", words);
  }
}

static void check_all_at_once(void)
{
  static const char *const line[] = {"train.batch=0", "seeed=3", NULL};
  static const char text[] =
    "model:\n"
    "  channels: 5\n"
    "  hiden: 7\n"
    "sed: 5\n"
    "train:\n"
    "  rate: 2\n"
    "  batch: x\n"
    "  shuffle: maybe\n"
    "trani: {rate: 1}\n"
    "run: {threads: 0, cores: 2}\n";
  experiment x;

  ok(says(load(text, line, &x), DX_E_CONFIG,
          "p.yaml:2: model.channels only goes with model.kind: unet (here mlp)\n"
          "p.yaml:3: model.hiden is not a key; did you mean model.hidden?\n"
          "p.yaml:4: sed is not a key; did you mean seed?\n"
          "p.yaml:6: train.rate is 2; allowed: a number from 0 to 1\n"
          "p.yaml:8: train.shuffle is maybe; allowed: true or false\n"
          "p.yaml:9: trani is not a section; did you mean train?\n"
          "p.yaml:10: run.threads is 0; allowed: a whole number from 1 to 1024, or auto\n"
          "p.yaml:10: run.cores is not a key; there are threads\n"
          "command line: train.batch is 0; allowed: a whole number from 1 to 1000000\n"
          "command line: seeed is not a key; did you mean seed?\n"
          "p.yaml: name is missing (name of the run); allowed: text of up to 31 bytes\n"
          "p.yaml: train.steps is missing (optimizer steps); allowed: a whole number from 1 to 1000000000"),
     "all mistakes at once, in order");
  ok(says(load(TRAIN "model: {kind: exact, hidden: 5}\n", NULL, &x), DX_E_CONFIG,
          "p.yaml:4: model.hidden only goes with model.kind: mlp (here exact)"), "a key of another choice");
}

static void check_assign(void)
{
  static const struct { const char *text, *words; } bad[] = {
    {"train.steps", "command line: train.steps is not key=value, such as train.steps=100"},
    {"=5", "command line: =5 is not key=value, such as train.steps=100"},
    {"", "command line: \"\" is not key=value, such as train.steps=100"},
    {"a b=5", "command line: \"a b=5\" is not key=value, such as train.steps=100"},
    {"--seed=5", "command line: --seed=5 is not key=value, nor an option of this command (diffx help COMMAND)"},
    {"seed=", "command line: seed=: no value"},
    {"seed=~", "command line: seed=~: no value"},
    {"seed=null", "command line: seed=null: no value"},
    {"name=a: b", "command line: \"name=a: b\": expected a value or a list, not a mapping"},
    {"train={steps: 5}", "command line: \"train={steps: 5}\": expected a value or a list, not a mapping"},
    {"model.multipliers=[1, [2]]", "command line: \"model.multipliers=[1, [2]]\": model.multipliers: a list holds single values only"},
    {"name=a #b", "command line: \"name=a #b\": put text with a # in quotes"},
    {"name=&a b", "command line: \"name=&a b\": anchors and aliases (&name, *name) are not taken; write the value out"},
    {"name=!a b", "command line: \"name=!a b\": tags (!name) are not taken"},
    {"name=\"a", "command line: name=\"a: not YAML: while scanning a quoted scalar, found unexpected end of stream"},
    {"name=a\n--- b", "command line: \"name=a?--- b\": put text with a # in quotes"},
    {"name=\xff", "command line: name=\xff: not a text file: the byte 0xFF is not UTF-8"},
  };
  dx_keys *keys = NULL;
  experiment x;

  ok(fine(parse("seed: 1\n", &keys)), "parse");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ok(says(dx_keys_assign(keys, bad[i].text), DX_E_USAGE, bad[i].words), "%s", bad[i].words);
  ok(!dx_keys_text(keys, "name") && !strcmp(dx_keys_text(keys, "seed"), "1"), "a refused one leaves all as it was");
  ok(fine(dx_keys_assign(keys, "name='#=, '")) && !strcmp(dx_keys_text(keys, "name"), "#=, "), "a quoted value");
  ok(fine(dx_keys_assign(keys, "name=a=b")) && !strcmp(dx_keys_text(keys, "name"), "a=b"), "a value with =");
  ok(fine(dx_keys_assign(keys, "model.multipliers=[1, 2 ]")) && !strcmp(dx_keys_text(keys, "model.multipliers"), "[1, 2]"),
     "a list");
  dx_keys_destroy(keys);
  ok(fine(load("name: a\ntrain: {steps: x}\n", (const char *const[]){"train.steps=3", NULL}, &x)) && x.train.steps == 3,
     "the command line mends a wrong key of the file");
}

/* What these sections print, read back into y. */
static bool round_trip(const experiment *x, experiment *y)
{
  experiment copy = *x;
  dx_section s[SECTIONS];
  dx_keys *keys = NULL;
  char *text = NULL, assign[64];
  bool good;

  if (!fine(parse("name: x\n", &keys))) return false;
  snprintf(assign, sizeof assign, "model.kind=%s", x->model.kind);
  if (!fine(dx_keys_assign(keys, assign))) return false;
  choose(keys, &copy, s);
  good = fine(dx_sections_print(s, SECTIONS, 7, &text)) && fine(load(text, NULL, y));
  if (!good) printf("# %s\n", text ? text : "nothing");
  free(text);
  dx_keys_destroy(keys);
  return good;
}

static void check_print(void)
{
  static const char text[] =
    "name: points\nseed: 7\ntrain:\n  batch: 64\n  rate: 0.0002\n  shuffle: false\n"
    "  init_from: \"a: 'b'\\x0A\xc3\xa9\"\nmodel:\n  kind: unet\n  channels: 64\n  multipliers: [1, 2, 2, 4]\n";
  experiment x, y;
  dx_section s[SECTIONS];
  dx_keys *keys = NULL;
  char *out = NULL;

  if (!fine(load(good_text, NULL, &x)) || !fine(parse(good_text, &keys))) exit(99);
  choose(keys, &x, s);
  ok(fine(dx_sections_print(s, SECTIONS, 1u << DX_FIXED, &out)) && same_words(out, text),
     "fixed rows only, chosen sections only, one head for both parts of model");
  free(out);
  ok(fine(dx_sections_print(s, SECTIONS, 1u << DX_RUN, &out)) &&
     same_words(out, "output: runs\nrun:\n  threads: auto\n"), "run rows only");
  free(out);
  ok(fine(dx_sections_print(s, SECTIONS, 0, &out)) && !*out, "no rows");
  free(out);
  ok(round_trip(&x, &y) && !memcmp(&x, &y, sizeof x), "the whole reads back to the same bytes");
  dx_keys_destroy(keys);
}

/* One character of any kind: most of them ask for care in YAML. */
static int put_character(uint32_t word, char *to)
{
  static const char *const kinds[] = {"a", "b", "7", " ", "\n", "\t", ":", "#", "'", "\"", "\\", "-", "[", "]", "{", "}",
    ",", "&", "*", "!", "|", ">", "%", "@", "`", "~", "?", "\r", "\x01", "\x7f", "\xc2\x85", "\xe2\x80\xa8", "\xef\xbb\xbf",
    "\xc3\xa9", "\xf0\x9f\x98\x80", "\xc2\x80", "\xef\xbf\xbf", "\xe2\x80\xa9", ".", "="};
  const char *c = kinds[dx_below(word, sizeof kinds / sizeof *kinds)];

  memcpy(to, c, strlen(c));
  return (int)strlen(c);
}

static void check_random_values(void)
{
  static const char *const hard[] = {"null", "~", "true", "No", "1", "1e5", ".inf", "-", "- a", "a: b", "a #b", "#", "", " a",
    "a ", "'", "\"", "---", "...", "?", ": ", "!a", "&a", "[1]", "{}", "0x1f", "1:30", "2024-01-01", "<<", "=", "%a", "y",
    "runs/a-b_c.d", "/scratch/x", "./x", "../x", ".x", "~/x", "a\\b", "a,b"};
  const dx_stream stream = {.seed = 5, .purpose = DX_FOR_TEST};
  experiment x, y;
  int bad = 0, count = 0;
  uint32_t w[4];

  if (!fine(load(good_text, NULL, &x))) exit(99);
  for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
    snprintf(x.train.init_from, sizeof x.train.init_from, "%s", hard[i]);
    ok(round_trip(&x, &y) && !strcmp(x.train.init_from, y.train.init_from), "text %s", hard[i]);
  }
  for (uint32_t i = 0; i < 3000; i++) {
    char *at = x.train.init_from;

    dx_stream_words(&stream, i, w);
    x.train.steps = 1 + w[0] % 1000000000;
    x.train.rate = ldexp(dx_uniform(w[1]), -(int)(w[0] % 1070));
    x.top.seed = w[2] % 1000000001;
    x.unet.multipliers.n = w[3] % (DX_INTS_MAX + 1);
    for (int j = 0; j < DX_INTS_MAX; j++) x.unet.multipliers.v[j] = j < x.unet.multipliers.n ? 1 + (w[j % 4] >> j) % 64 : 0;
    memset(at, 0, sizeof x.train.init_from);
    for (uint32_t n = w[3] % 13; n > 0; n--) at += put_character(w[n % 4] * (2 * n + 1), at);
    bad += !round_trip(&x, &y) || memcmp(&x, &y, sizeof x) != 0;
    count++;
  }
  ok(bad == 0, "%d random experiments read back to the same bytes (%d do not)", count, bad);
}

static bool differ(const char *theirs, const char *ours, const char *words)
{
  experiment x = {0};
  dx_section s[SECTIONS];
  dx_keys *keys = NULL;
  char *text = NULL;
  bool good;

  if (!fine(parse("name: x\n", &keys))) return false;
  choose(keys, &x, s);
  good = fine(dx_sections_differ(s, SECTIONS, theirs, ours, &text)) && same_words(text, words);
  free(text);
  dx_keys_destroy(keys);
  return good;
}

static void check_differ(void)
{
  char *out = NULL;

  ok(differ("seed: 1\ntrain:\n  batch: 64\n  steps: 5\n", "seed: 2\ntrain:\n  batch: 32\n  steps: 6\n",
            "seed (1 there, 2 here), train.batch (64 there, 32 here)"), "two differ, steps may");
  ok(differ("model:\n  kind: unet\n  multipliers: [1, 2]\n", "model:\n  kind: mlp\n  hidden: 5\n",
            "model.kind (unet there, mlp here), model.hidden (absent there, 5 here), "
            "model.multipliers ([1, 2] there, absent here)"), "keys on one side");
  ok(differ("seed: 1\n", "seed: 1\n", "") && differ("", "", "") && differ("output: a\n", "output: b\n", ""),
     "none differ");
  ok(differ("old: 1\n", "seed: 1\n", "seed (absent there, 1 here), old (1 there, absent here)"), "a key of another version");
  ok(differ("seed: 1\n", "seed: 1\ntrain:\n  init_from: none\n", ""), "a key that is new and stands as everybody had it before");
  ok(differ("seed: 1\n", "seed: 1\ntrain:\n  init_from: a\n", "train.init_from (none there, a here)"), "and one that does not");
  ok(says(dx_sections_differ(NULL, 0, "a: [", "a: 1\n", &out), DX_E_CONFIG,
          "the stored experiment:2:1: not YAML: while parsing a flow node, did not find expected node content") && !out,
     "a damaged text");
}

static bool writes(void (*write)(FILE *), const char *expected)
{
  char *text = NULL;
  size_t size;
  FILE *to = open_memstream(&text, &size);
  bool good;

  write(to);
  fclose(to);
  good = same_words(text, expected);
  free(text);
  return good;
}

static const dx_section mlp_section = {"model", mlp_options, NULL, "model.kind: mlp"};
static const dx_section top_section = {"", top_options, NULL, NULL};

static void write_help(FILE *to) { dx_option_help(&mlp_section, &mlp_options[0], to); }
static void write_help_top(FILE *to) { dx_option_help(&top_section, &top_options[0], to); }
static void write_markdown(FILE *to) { dx_section_markdown(&top_section, to); }
static void write_markdown_only(FILE *to) { dx_section_markdown(&mlp_section, to); }

static void check_docs(void)
{
  ok(writes(write_help,
            "model.hidden\n  width of a layer\n\n  allowed  a whole number from 1 to 4096\n  preset   128\n"
            "  only     with model.kind: mlp\n"
            "  role     fixed. Part of the answer: a resumed run must have the same value.\n"), "help");
  ok(writes(write_help_top,
            "name\n  name of the run\n\n  allowed  text of up to 31 bytes\n  preset   none; it must be given\n"
            "  role     fixed. Part of the answer: a resumed run must have the same value.\n"), "help without a preset");
  ok(writes(write_markdown,
            "## At the top\n\n| key | preset | allowed | role | meaning |\n|---|---|---|---|---|\n"
            "| `name` | must be given | text of up to 31 bytes | fixed | name of the run |\n"
            "| `seed` | `1` | a whole number from 0 to 1000000000 | fixed | seed of all random numbers |\n"
            "| `output` | `runs` | text of up to 63 bytes | run | folder \\| of the run |\n\n"), "Markdown");
  ok(writes(write_markdown_only,
            "## model, only with `model.kind: mlp`\n\n| key | preset | allowed | role | meaning |\n|---|---|---|---|---|\n"
            "| `model.hidden` | `128` | a whole number from 1 to 4096 | fixed | width of a layer |\n"
            "| `model.layers` | `3` | a whole number from 1 to 64 | fixed | number of layers |\n\n"), "Markdown of a choice");
}

/* Some bytes replaced, dropped, doubled or cut off. Returns the new size. */
static size_t damage(char *text, size_t size, const uint32_t w[4])
{
  static const char bytes[] = "\0\xff\xc3\n\t :-[]{},#&*!|>'\"%@~?.019eaz\\\r";
  const size_t at = dx_below(w[0], (uint32_t)size), left = size - at;
  const size_t n = 1 + w[1] % 8 < left ? 1 + w[1] % 8 : left;

  switch (w[2] % 5) {
  case 0: text[at] = (char)w[3]; break;
  case 1: text[at] = bytes[w[3] % (sizeof bytes - 1)]; break;
  case 2: memmove(text + at, text + at + n, left - n); return size - n;
  case 3: memmove(text + at + n, text + at, left); return size + n;
  default: return w[3] % 8 ? size : at;
  }
  return size;
}

/* The file, then one more assignment made of its rest from `from` on. */
static dx_error *load_damaged(const char *text, size_t size, size_t from)
{
  char assignment[2 * sizeof good_text + 8];
  dx_section s[SECTIONS];
  dx_keys *keys = NULL;
  experiment x;
  dx_error *err;

  DX_TRY(dx_keys_parse("p.yaml", text, size, &keys));
  snprintf(assignment, sizeof assignment, "seed=%.*s", (int)(size - from), text + from);
  dx_error_free(dx_keys_assign(keys, assignment)); /* any verdict will do */
  choose(keys, &x, s);
  err = dx_keys_fill(keys, s, SECTIONS);
  dx_keys_destroy(keys);
  return err;
}

/* Never a crash, and always either a whole experiment or an error with its place. */
static void check_damaged(int rounds)
{
  const dx_stream stream = {.seed = 11, .purpose = DX_FOR_TEST};
  int taken = 0, refused = 0, placeless = 0;

  for (int i = 0; i < rounds; i++) {
    size_t size = sizeof good_text - 1;
    char text[2 * sizeof good_text];
    uint32_t w[4];
    dx_error *e;

    memcpy(text, good_text, size);
    for (int j = 0; j <= i % 4 && size > 0; j++) {
      dx_stream_words(&stream, (uint32_t)(4 * i + j), w);
      size = damage(text, size, w);
    }
    e = load_damaged(text, size, size - dx_below(w[0], (uint32_t)size));
    if (!e) taken++;
    else if (dx_error_code(e) == DX_E_CONFIG && (!strncmp(dx_error_text(e), "p.yaml:", 7) ||
                                                 !strncmp(dx_error_text(e), "command line:", 13))) refused++;
    else placeless++;
    dx_error_free(e);
  }
  ok(taken > 0 && refused > 0 && placeless == 0, "%d damaged files: %d taken, %d refused with a place, %d otherwise",
     rounds, taken, refused, placeless);
}

int main(int argc, char **argv)
{
  check_good();
  check_refused_files();
  check_big_files();
  check_values();
  check_names();
  check_all_at_once();
  check_assign();
  check_print();
  check_random_values();
  check_differ();
  check_docs();
  check_damaged(argc > 1 ? atoi(argv[1]) : 2000);
  return done();
}
