/* SPDX-License-Identifier: Apache-2.0 */
/* tests/dataset.c - every row arrives where it is wanted, from every kind of set, on one rank
   (dataset_alone.t) and on three (dataset.np3); bad files give all ranks the same words. */
#define _GNU_SOURCE /* memmem */
#include "data/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "io/file.h"
#include "io/h5.h"
#include "errors.h"
#include "tap.h"

static dx_comm *comm, *alone;
static int rank, size;
static char dir[64] = "/tmp/diffx-dataset-XXXXXX";

/* What holds on every rank is said by rank 0. */
#define all_ok(cond, ...)                                       \
  do {                                                          \
    int everywhere_ = (int)dx_comm_min_i64(comm, (cond) != 0);  \
    if (rank == 0) ok(everywhere_, __VA_ARGS__);                \
  } while (0)

static const char *in(const char *name) { return path_in(dir, name); }

/* Whether all ranks got this code and words, and the same text. Frees e. */
static int all_fail(dx_error *e, dx_code code, const char *words)
{
  char *first = strdup(e ? dx_error_text(e) : "no error");
  int good = e && dx_error_code(e) == code && strstr(dx_error_text(e), words);

  fine(dx_comm_broadcast_text(comm, &first));
  good = good && !strcmp(first, dx_error_text(e));
  if (!good) printf("# rank %d got: %s\n", rank, e ? dx_error_text(e) : "no error");
  free(first);
  dx_error_free(e);
  return good;
}

/* The same number on all ranks, another at each call. */
static uint32_t pick(uint32_t below)
{
  static uint64_t calls;
  const dx_stream s = {.seed = 5, .purpose = DX_FOR_TEST, .index = calls++};
  uint32_t word[4];

  dx_stream_words(&s, 0, word);
  return dx_below(word[0], below);
}

/* --- kinds and their settings -------------------------------------------- */

/* The presets of a kind, then "key value" pairs, NULL at the end. */
static void *settings(const char *kind, const char *const *pairs)
{
  const dx_source *s = dx_source_find(kind);
  void *config = calloc(1, s->config_size);

  dx_option_presets(s->options, config);
  for (; *pairs; pairs += 2)
    if (!fine(dx_option_read(dx_option_find(s->options, pairs[0]), pairs[1], config))) exit(99);
  return config;
}

static dx_error *open_with(const char *kind, const void *config, double memory, dx_dataset **out)
{
  dx_data_config common = {.memory = memory};

  snprintf(common.kind, sizeof common.kind, "%s", kind);
  *out = NULL;
  return dx_dataset_open(&common, config, comm, out);
}

static dx_error *open_file(const char *path, double memory, dx_dataset **out)
{
  void *config = settings("file", (const char *const[]){"file", path, NULL});
  dx_error *e = open_with("file", config, memory, out);

  free(config);
  return e;
}

/* --- rows ---------------------------------------------------------------- */

/* All rows of a split as its source gives them to one process. */
typedef struct { void *rows; int32_t *label; int64_t n, bytes; } reference;

static void reference_free(reference *r)
{
  free(r->rows);
  free(r->label);
}

static reference reference_of(const char *kind, const void *config, dx_split split)
{
  const dx_source *s = dx_source_find(kind);
  dx_dataset_info info;
  void *state;
  reference r = {0};

  if (!fine(s->open(config, alone, &info, &state))) exit(99);
  r.n = info.count[split];
  r.bytes = dx_shape_dim(info.sample) * (info.raw == DX_RAW_U8 ? 1 : 4);
  r.rows = malloc((size_t)(r.n * r.bytes) + 1);
  if (info.classes) r.label = malloc((size_t)r.n * sizeof *r.label + 1);
  if (!fine(s->rows(state, split, 0, r.n, r.rows, r.label))) exit(99);
  s->close(state);
  return r;
}

/* Who gets how many rows of one batch: anything, often nothing. */
static void share_out(int64_t total, int64_t *first)
{
  int64_t at = 0;

  for (int r = 0; r < size; r++) {
    first[r] = at;
    if (r == size - 1) at = pick(2) ? total : at;
    else if (pick(3)) at += pick((uint32_t)(total - at + 1));
  }
  first[size] = at;
}

static int right(const reference *r, const int64_t *index, int64_t n, const void *rows,
                 const int32_t *labels)
{
  int bad = (labels != NULL) != (r->label != NULL);

  for (int64_t i = 0; i < n && !bad; i++) {
    bad += memcmp((const char *)rows + i * r->bytes, (char *)r->rows + index[i] * r->bytes, (size_t)r->bytes);
    if (labels) bad += labels[i] != r->label[index[i]];
  }
  return !bad;
}

/* Batches of random rows, the next one under way while the last is looked at. */
static int fetches(dx_dataset *d, const reference *r, dx_split split)
{
  enum { ROUNDS = 40, MOST = 300 };
  static int64_t index[ROUNDS][MOST], first[ROUNDS][16];
  dx_fetch *f;
  int good = fine(dx_fetch_create(d, split, MOST, &f));

  for (int k = 0; k < ROUNDS && good; k++) {
    share_out(k == 0 ? MOST : 1 + pick(MOST), first[k]);
    for (int i = 0; i < MOST; i++) index[k][i] = pick((uint32_t)r->n);
  }
  if (good) dx_fetch_start(f, index[0], first[0]);
  for (int k = 0; k < ROUNDS && good; k++) {
    const void *rows = NULL;
    const int32_t *labels = NULL;

    good = fine(dx_fetch_finish(f, &rows, &labels));
    if (k + 1 < ROUNDS) dx_fetch_start(f, index[k + 1], first[k + 1]);
    good = (int)dx_comm_min_i64(comm, good && right(r, index[k] + first[k][rank],
                                                    first[k][rank + 1] - first[k][rank], rows, labels));
  }
  dx_fetch_destroy(f);
  return good;
}

static int whole_set(dx_dataset *d, const char *kind, const void *config)
{
  int good = 1;

  for (int s = 0; s < DX_SPLITS; s++) {
    reference r = reference_of(kind, config, (dx_split)s);

    if (r.n > 0) good &= fetches(d, &r, (dx_split)s);
    reference_free(&r);
  }
  return good;
}

/* --- procedural sets ------------------------------------------------------ */

/* Mean and variance of the normalised numbers of the train split. */
static void moments(const char *kind, const void *config, const dx_dataset_info *info, double *mean,
                    double *variance)
{
  reference r = reference_of(kind, config, DX_TRAIN);
  const int64_t n = r.n * dx_shape_dim(info->sample);
  float *x = malloc((size_t)n * sizeof *x);
  double sum = 0, squares = 0;

  dx_dataset_normalise(info, r.n, r.rows, x);
  for (int64_t i = 0; i < n; i++) {
    sum += x[i];
    squares += (double)x[i] * x[i];
  }
  *mean = sum / (double)n;
  *variance = squares / (double)n - *mean * *mean;
  free(x);
  reference_free(&r);
}

/* The presets of each kind, as every run anywhere must see them. */
#define SHAPES_HASH 0x81861d19e16659e5
static const struct { const char *kind; uint64_t hash; } kinds[] = {
  {"gaussian", 0x23473505397a295a}, {"mixture8", 0x91bcd1fdc7795605}, {"moons", 0xfe96d275f88a764b},
  {"swiss-roll", 0xd3b9075e1f39f0b6}, {"checkerboard", 0x39b465c6f4700f40},
};

/* Images: their facts, every row, and the pictures themselves. */
static void shapes(void)
{
  void *config = settings("shapes", (const char *const[]){"train", "600", "test", "50", NULL});
  dx_dataset *d;
  const dx_dataset_info *info;
  reference r = reference_of("shapes", config, DX_TRAIN);
  int of[3] = {0}, mixed = 0;
  dx_error *e;

  if (!fine(open_with("shapes", config, 0, &d))) exit(99);
  info = dx_dataset_info_of(d);
  all_ok(info->hash == SHAPES_HASH, "shapes: hash %016" PRIx64, info->hash);
  all_ok(info->sample.h == 32 && info->sample.w == 32 && info->sample.c == 3 && info->raw == DX_RAW_U8 &&
         !strcmp(info->modality, "image") && info->has_range && info->lo == 0 && info->hi == 255 &&
         info->shift == 127.5 && info->scale == 127.5 && info->classes == 3, "shapes: its facts");
  all_ok(whole_set(d, "shapes", config), "shapes: every row arrives");
  for (int64_t i = 0; i < r.n; i++) {
    const uint8_t *x = (uint8_t *)r.rows + i * r.bytes;
    int colours = 1;

    of[r.label[i]]++;
    for (int64_t k = 3; k < r.bytes; k += 3) colours += memcmp(x + k, x + k - 3, 3) != 0;
    mixed += colours > 20 && colours < 1000; /* a figure with an edge, not one colour and no noise */
  }
  all_ok(of[0] > 150 && of[1] > 150 && of[2] > 150 && mixed == r.n, "shapes: three figures, each in its picture");
  reference_free(&r);
  dx_dataset_close(d);
  e = rank == 0 ? dx_dataset_write(in("shapes"), dx_source_find("shapes"), config, alone) : NULL;
  all_ok(fine(dx_comm_agree(comm, e)) && fine(open_file(in("shapes"), 0, &d)) &&
         dx_dataset_info_of(d)->hash == SHAPES_HASH && whole_set(d, "shapes", config), "shapes: the same from a file");
  dx_dataset_close(d);
  free(config);
}

static void flips(void)
{
  const dx_dataset_info info = {.sample = {1, 2, 3, 2}};
  float x[12], y[12] = {4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7};

  for (int i = 0; i < 12; i++) x[i] = (float)i;
  dx_dataset_flip(&info, x);
  all_ok(!memcmp(x, y, sizeof x), "an image is mirrored left to right, its channels stay");
  dx_dataset_flip(&info, x);
  all_ok(x[0] == 0 && x[5] == 5 && x[11] == 11, "twice is once too often");
}

static void procedural_sets(void)
{
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    const char *kind = kinds[k].kind;
    void *config = settings(kind, (const char *const[]){NULL});
    dx_dataset *d;
    const dx_dataset_info *info;
    double mean, variance;

    if (!fine(open_with(kind, config, 0, &d))) exit(99);
    info = dx_dataset_info_of(d);
    all_ok(info->hash == kinds[k].hash, "%s: hash %016" PRIx64, kind, info->hash);
    all_ok(info->count[DX_TRAIN] == 10000 && info->count[DX_TEST] == 2000 && info->raw == DX_RAW_F32 &&
           dx_shape_dim(info->sample) == 2 && !strcmp(info->modality, "points") && !info->has_range &&
           !strcmp(info->name, kind), "%s: its facts", kind);
    moments(kind, config, info, &mean, &variance);
    all_ok(fabs(mean) < 0.03 && fabs(variance - 1) < 0.03, "%s: normalised mean %.3f, variance %.3f",
           kind, mean, variance);
    all_ok(whole_set(d, kind, config), "%s: every row arrives", kind);
    dx_dataset_close(d);
    free(config);
  }
}

static void mixtures(void)
{
  void *config = settings("mixture8", (const char *const[]){"radius", "3", "noise", "0.25", NULL});
  dx_dataset *d;
  const dx_mixture *m;
  reference r = reference_of("mixture8", config, DX_TRAIN);
  double worst = 0, squares = 0;

  if (!fine(open_with("mixture8", config, 0, &d))) exit(99);
  m = &dx_dataset_info_of(d)->mixture;
  all_ok(m->count == 8 && m->dim == 2 && m->weight[7] == 0.125 && m->sigma[3] == 0.25 &&
         fabs(m->mean[0] - 3) < 1e-15 && fabs(m->mean[5] - 3) < 1e-15, "mixture8 knows its density");
  for (int64_t i = 0; i < r.n; i++)
    for (int j = 0; j < 2; j++) {
      const double off = ((float *)r.rows)[2 * i + j] - m->mean[2 * r.label[i] + j];

      if (fabs(off) > worst) worst = fabs(off);
      squares += off * off;
    }
  all_ok(worst < 0.25 * 6 && fabs(squares / (double)(2 * r.n) / 0.0625 - 1) < 0.03,
         "its labels name the Gaussian of each row");
  reference_free(&r);
  dx_dataset_close(d);
  free(config);

  config = settings("gaussian", (const char *const[]){"dim", "5", "mean", "-1", "sigma", "0.5", NULL});
  if (!fine(open_with("gaussian", config, 0, &d))) exit(99);
  m = &dx_dataset_info_of(d)->mixture;
  all_ok(m->count == 1 && m->dim == 5 && m->weight[0] == 1 && m->sigma[0] == 0.5 && m->mean[4] == -1 &&
         dx_dataset_info_of(d)->shift == 0 && dx_dataset_info_of(d)->scale == 1,
         "gaussian knows its density, in its own units");
  dx_dataset_close(d);
  free(config);
}

/* Shares of nobody, splits of nothing. */
static void small_sets(void)
{
  static const char *const count[][2] = {{"1", "1"}, {"2", "0"}, {"3", "4"}, {"7", "2"}};
  int good = 1;

  for (int k = 0; k < 4; k++) {
    void *config = settings("moons", (const char *const[]){"train", count[k][0], "test", count[k][1], NULL});
    dx_dataset *d;

    good &= fine(open_with("moons", config, 0, &d)) && whole_set(d, "moons", config);
    dx_dataset_close(d);
    free(config);
  }
  all_ok(good, "fewer rows than ranks");
}

static void seeds(void)
{
  uint64_t hash[3];
  static const char *const seed[3] = {"0", "1", "9000000000000000"};

  for (int k = 0; k < 3; k++) {
    void *config = settings("checkerboard", (const char *const[]){"train", "10", "seed", seed[k], NULL});
    dx_dataset *d;

    if (!fine(open_with("checkerboard", config, 0, &d))) exit(99);
    hash[k] = dx_dataset_info_of(d)->hash;
    dx_dataset_close(d);
    free(config);
  }
  all_ok(hash[0] != hash[1] && hash[1] != hash[2] && hash[0] != hash[2], "another seed, another set");
}

/* --- files ---------------------------------------------------------------- */

/* A set, written and read back: held, in several blocks, and with room for one. */
static void through_a_file(const char *kind)
{
  static const double memory[] = {0, 70000, 1};
  void *config = settings(kind, (const char *const[]){"train", "40000", "test", "3001", NULL});
  const char *path = in(kind);
  dx_dataset *d;
  uint64_t hash;
  dx_error *e = NULL;

  if (!fine(open_with(kind, config, 0, &d))) exit(99);
  hash = dx_dataset_info_of(d)->hash;
  dx_dataset_close(d);
  if (rank == 0) e = dx_dataset_write(path, dx_source_find(kind), config, alone);
  all_ok(fine(dx_comm_agree(comm, e)), "%s: written", kind);
  for (size_t k = 0; k < sizeof memory / sizeof *memory; k++) {
    if (!fine(open_file(path, memory[k], &d))) exit(99);
    all_ok(dx_dataset_info_of(d)->hash == hash && !strcmp(dx_dataset_info_of(d)->name, kind),
           "%s: the file has the hash of the set, memory %g", kind, memory[k]);
    all_ok(memory[k] == 0 || (double)dx_dataset_bytes_held(d) < 1.2 * (memory[k] + 2 * (1 << 14)),
           "%s: at most that memory is held: %" PRId64, kind, dx_dataset_bytes_held(d));
    all_ok(whole_set(d, kind, config), "%s: every row arrives, memory %g", kind, memory[k]);
    dx_dataset_close(d);
  }
  free(config);
}

/* What a file under test is made of. A NULL attribute is left out. */
typedef struct {
  dx_h5_info x, test_x, label, test_label; /* rank 0: left out */
  const void *data, *labels;               /* of train and test; NULL: zeros */
  int64_t format, classes;                 /* 0: left out */
  const char *content, *class_names;
  const double *shift, *scale, *lo, *hi;
} recipe;

static int make(const char *path, const recipe *r)
{
  const dx_h5_storage chunks = {.rows_per_chunk = 16};
  static const char zeros[1 << 16];
  dx_h5 *f = NULL;
  int good = fine(dx_h5_create(&f));

#define PUT(name, info, from) \
  if (r->info.rank) good &= fine(dx_h5_write(f, name, &r->info, r->from ? r->from : zeros, "1", "test", &chunks))
  PUT("train/x", x, data);
  PUT("test/x", test_x, data);
  PUT("train/label", label, labels);
  PUT("test/label", test_label, labels);
#undef PUT
  if (r->format) good &= fine(dx_h5_set_int(f, "/", "format", r->format));
  if (r->classes) good &= fine(dx_h5_set_int(f, "/", "classes", r->classes));
  if (r->content) good &= fine(dx_h5_set_text(f, "/", "content", r->content));
  if (r->class_names) good &= fine(dx_h5_set_text(f, "/", "class_names", r->class_names));
  if (r->shift) good &= fine(dx_h5_set_real(f, "/", "shift", *r->shift));
  if (r->scale) good &= fine(dx_h5_set_real(f, "/", "scale", *r->scale));
  if (r->lo) good &= fine(dx_h5_set_real(f, "/", "range_lo", *r->lo));
  if (r->hi) good &= fine(dx_h5_set_real(f, "/", "range_hi", *r->hi));
  good &= fine(dx_h5_save(f, path));
  dx_h5_close(f);
  return good;
}

/* Rank 0 makes the file, all open it. */
static dx_error *open_made(const char *path, const recipe *r, dx_dataset **out)
{
  if (rank == 0 && !make(path, r)) exit(99);
  dx_comm_barrier(comm);
  return open_file(path, 0, out);
}

static void refused(const char *what, const recipe *r, const char *words)
{
  dx_dataset *d;

  all_ok(all_fail(open_made(in("bad.h5"), r, &d), DX_E_DATA, words), "refused on all ranks: %s", what);
}

#define F32(...) {.type = DX_H5_F32, .rank = sizeof((int[]){__VA_ARGS__}) / sizeof(int), .dim = {__VA_ARGS__}}
#define U8(...) {.type = DX_H5_U8, .rank = sizeof((int[]){__VA_ARGS__}) / sizeof(int), .dim = {__VA_ARGS__}}
#define I32(...) {.type = DX_H5_I32, .rank = sizeof((int[]){__VA_ARGS__}) / sizeof(int), .dim = {__VA_ARGS__}}

static void bad_files(void)
{
  static const double zero = 0, one = 1, minus = -1, two = 2, nothing = NAN;
  static const int32_t labels[50] = {0, 1, 2}, negative[50] = {[7] = -1};
  static float x[100];
  char words[64];
  dx_dataset *d;

  all_ok(all_fail(open_file(in("none.h5"), 0, &d), DX_E_IO, "none.h5: No such file"), "a missing file");
  if (rank == 0) fine(dx_file_write_atomic(in("text.h5"), "some text that is no HDF5 file", 30));
  dx_comm_barrier(comm);
  all_ok(all_fail(open_file(in("text.h5"), 0, &d), DX_E_DATA, "is not an HDF5 file"), "not HDF5");
  snprintf(words, sizeof words, "rank %d: cannot read", size - 1);
  if (size > 1)
    all_ok(all_fail(open_file(in(rank == size - 1 ? "none.h5" : "moons"), 0, &d), DX_E_IO, words),
           "a file that one rank does not see");
  refused("no samples", &(recipe){.test_x = F32(5, 2)}, "has no /train/x");
  refused("64-bit floats", &(recipe){.x = {.type = DX_H5_F64, .rank = 2, .dim = {5, 2}}},
          "/train/x holds 64-bit floats; diffx takes uint8 or float32");
  refused("text", &(recipe){.x = {.type = DX_H5_TEXT, .rank = 2, .dim = {5, 2}}}, "holds text");
  refused("one dimension", &(recipe){.x = F32(5)}, "/train/x has 1 dimension;");
  refused("five dimensions", &(recipe){.x = F32(5, 1, 1, 1, 1)}, "has 5 dimensions");
  refused("no rows", &(recipe){.x = F32(0, 2)}, "/train/x has no rows");
  refused("empty samples", &(recipe){.x = F32(5, 0)}, "dimension 1 of /train/x is 0");
  refused("another test shape", &(recipe){.x = F32(5, 2), .test_x = F32(5, 3)},
          "/test/x has samples of 1 x 1 x 3");
  refused("another test type", &(recipe){.x = F32(5, 2), .test_x = U8(5, 2)}, "uint8, /train/x of");
  refused("too few labels", &(recipe){.x = F32(5, 2), .label = I32(4)}, "/train/label has 4 rows, /train/x has 5");
  refused("labels that are no list", &(recipe){.x = F32(5, 2), .label = I32(5, 1)}, "one whole number per row");
  refused("real labels", &(recipe){.x = F32(5, 2), .label = F32(5)}, "one whole number per row");
  refused("labels in one split", &(recipe){.x = F32(5, 2), .test_x = F32(5, 2), .label = I32(5)},
          "labels in train but not in test");
  refused("a negative label", &(recipe){.x = F32(9, 2), .label = I32(9), .labels = negative},
          "/train/label has -1 in row 7");
  refused("labels above the classes", &(recipe){.x = F32(9, 2), .label = I32(9), .labels = labels, .classes = 2},
          "labels go up to 2, but 2 classes");
  refused("too few names", &(recipe){.x = F32(9, 2), .label = I32(9), .labels = labels, .class_names = "a\nb\n"},
          "labels go up to 2, but 2 classes");
  refused("a newer format", &(recipe){.x = F32(5, 2), .format = 2}, "has format 2; this diffx reads formats up to 1");
  refused("another content", &(recipe){.x = F32(5, 2), .content = "record"}, "is a record file of diffx, not a dataset file");
  refused("scale 0", &(recipe){.x = F32(5, 2), .scale = &zero}, "the attribute scale is 0; it must be above 0");
  refused("scale -1", &(recipe){.x = F32(5, 2), .scale = &minus}, "scale is -1");
  refused("scale NaN", &(recipe){.x = F32(5, 2), .scale = &nothing}, "scale is not finite");
  refused("half a range", &(recipe){.x = F32(5, 2), .lo = &zero}, "range_lo without range_hi");
  refused("an empty range", &(recipe){.x = F32(5, 2), .lo = &one, .hi = &one}, "range_lo is 1, not below range_hi, 1");
  refused("8-bit samples with a shift", &(recipe){.x = U8(5, 2), .shift = &two}, "8-bit samples have shift 127.5");

  x[2 * 40 + 1] = NAN;
  refused("NaN", &(recipe){.x = F32(50, 2), .data = x}, "bad.h5: /train/x has NaN in row 40 (number 1 of the row)");
  x[2 * 40 + 1] = -INFINITY;
  refused("infinity", &(recipe){.x = F32(2, 2), .test_x = F32(50, 2), .data = x}, "/test/x has an infinity in row 40");
  x[2 * 40 + 1] = 3;
  refused("out of range", &(recipe){.x = F32(50, 2), .data = x, .lo = &minus, .hi = &two},
          "/train/x has 3 in row 40, outside the declared range -1 to 2");
}

static void images(void)
{
  static unsigned char x[30 * 4 * 3 * 2];
  static int32_t label[30];
  const recipe r = {.x = U8(30, 4, 3, 2), .test_x = U8(20, 4, 3, 2), .label = I32(30), .test_label = I32(20),
                    .data = x, .labels = label, .class_names = "a\nb\nc\nd"};
  dx_dataset *d;
  const dx_dataset_info *info;
  void *config = settings("file", (const char *const[]){"file", in("image.h5"), NULL});
  float y[256], z[256];
  unsigned char ramp[256];
  int bad = 0;

  for (int i = 0; i < (int)sizeof x; i++) x[i] = (unsigned char)(i * 7);
  for (int i = 0; i < 30; i++) label[i] = i % 3;
  if (!fine(open_made(in("image.h5"), &r, &d))) exit(99);
  info = dx_dataset_info_of(d);
  all_ok(info->raw == DX_RAW_U8 && info->sample.h == 4 && info->sample.w == 3 && info->sample.c == 2 &&
         info->sample.b == 1 && !strcmp(info->modality, "image") && info->classes == 4 && info->shift == 127.5 &&
         info->scale == 127.5 && info->has_range && info->lo == 0 && info->hi == 255 && info->mixture.count == 0,
         "8-bit images: their facts");
  all_ok(whole_set(d, "file", config), "8-bit images: every row and label arrives");
  for (int i = 0; i < 256; i++) ramp[i] = (unsigned char)i;
  dx_dataset_normalise(&(dx_dataset_info){.sample = {1, 1, 1, 256}, .raw = DX_RAW_U8, .shift = 127.5, .scale = 127.5},
                       1, ramp, y);
  memcpy(z, y, sizeof z);
  dx_dataset_restore(&(dx_dataset_info){.sample = {1, 1, 1, 256}, .shift = 127.5, .scale = 127.5}, 1, z);
  for (int i = 0; i < 256; i++) bad += y[i] != (float)(i / 127.5 - 1) || fabsf(z[i] - (float)i) > 1e-4f;
  all_ok(!bad && y[0] == -1 && y[255] == 1, "8-bit values become -1 to 1 and come back");
  dx_dataset_close(d);
  free(config);

  if (!fine(open_made(in("line.h5"), &(recipe){.x = F32(9, 6, 2)}, &d))) exit(99);
  info = dx_dataset_info_of(d);
  all_ok(info->sample.h == 1 && info->sample.w == 6 && info->sample.c == 2 && info->count[DX_TEST] == 0 &&
         info->classes == 0 && info->scale == 1 && !strcmp(info->modality, "sequence"), "[N, L, C], no test split");
  dx_dataset_close(d);
}

/* Spoil one byte of a row in the file, which is found by its bytes. */
static void spoil(const char *path, const void *row, size_t bytes)
{
  char *text = NULL, *at;
  size_t n = 0;
  FILE *f;

  if (!fine(dx_file_read(path, 1 << 26, &text, &n))) exit(99);
  at = memmem(text, n, row, bytes);
  f = fopen(path, "r+b"); /* in place: the ranks have this very file open */
  if (!at || !f || fseek(f, (long)(at - text), SEEK_SET) || fputc(at[0] ^ 0x10, f) == EOF || fclose(f)) exit(99);
  free(text);
}

/* The disk goes bad while a run goes on: one rank cannot read a block, all hear of it. */
static void damage(void)
{
  void *config = settings("swiss-roll", (const char *const[]){"train", "90000", "test", "10", NULL});
  reference r = reference_of("swiss-roll", config, DX_TRAIN);
  const int64_t bad_row = 70000;
  int64_t index[3] = {bad_row, 5, 35000}, first[17] = {0};
  const char *path = in("damaged.h5");
  char words[64];
  dx_dataset *d;
  dx_fetch *f;
  const void *rows;
  const int32_t *labels;
  dx_error *e = NULL;

  if (rank == 0) e = dx_dataset_write(path, dx_source_find("swiss-roll"), config, alone);
  if (!fine(dx_comm_agree(comm, e)) || !fine(open_file(path, 5000, &d)) ||
      !fine(dx_fetch_create(d, DX_TRAIN, 3, &f))) exit(99);
  if (rank == 0) spoil(path, (char *)r.rows + bad_row * r.bytes, (size_t)r.bytes);
  dx_comm_barrier(comm);
  for (int k = 1; k <= size; k++) first[k] = 3; /* rank 0 wants them all */
  dx_fetch_start(f, index, first);
  all_ok(all_fail(dx_fetch_finish(f, &rows, &labels), DX_E_DATA, "damaged.h5: cannot read /train/x: "),
         "a block that cannot be read any more: all ranks hear of it");
  index[0] = 17;
  dx_fetch_start(f, index, first);
  all_ok(fine(dx_fetch_finish(f, &rows, &labels)) && right(&r, index, rank == 0 ? 3 : 0, rows, labels),
         "other rows still arrive after it");
  dx_fetch_destroy(f);
  dx_dataset_close(d);
  for (int k = 0; k < size; k++)
    if (dx_share_first(r.n, size, k) <= bad_row) snprintf(words, sizeof words, "rank %d: ", k);
  all_ok(all_fail(open_file(path, 0, &d), DX_E_DATA, size > 1 ? words : "damaged.h5: cannot read /train/x"),
         "the damaged file is refused by all ranks");
  reference_free(&r);
  free(config);
}

/* --- diffx data show ------------------------------------------------------ */

static int shows(const char *path, const char *const *words)
{
  FILE *f = tmpfile();
  char text[8192];
  size_t n;
  int good = fine(dx_dataset_show(path, f));

  rewind(f);
  n = fread(text, 1, sizeof text - 1, f);
  text[n] = '\0';
  for (; *words; words++)
    if (!strstr(text, *words)) {
      printf("# no \"%s\" in:\n%s\n", *words, text);
      good = 0;
    }
  fclose(f);
  return good;
}

static void show(void)
{
  static float x[10] = {[3] = NAN};
  FILE *f = tmpfile();
  char hash[32], source[] = "diffx data make moons train=40000 test=3001 seed=0 noise=0.05";
  dx_dataset *d;
  dx_error *e;

  if (!fine(open_file(in("moons"), 0, &d))) exit(99);
  snprintf(hash, sizeof hash, "hash     %016" PRIx64, dx_dataset_info_of(d)->hash);
  dx_dataset_close(d);
  ok(shows(in("moons"), (const char *const[]){"points, 1 x 1 x 2 float32", "train       40000 rows", "3001 rows",
                                              "classes  2", hash, source, "range    none", NULL}),
     "data show of a procedural set");
  ok(shows(in("image.h5"), (const char *const[]){"image, 4 x 3 x 2 uint8", "range    0 to 255", "rows by class: 10 10 10 0",
                                                 "class_names      a b c d", NULL}), "data show of images");
  make(in("bad.h5"), &(recipe){.x = F32(5, 2), .data = x});
  e = dx_dataset_show(in("bad.h5"), f);
  ok(e && strstr(dx_error_text(e), "NaN in row 1"), "data show says what a run would refuse");
  dx_error_free(e);
  fclose(f);
}

int main(int argc, char **argv)
{
  char command[128];
  int status = 0;

  if (!fine(dx_comm_start(&argc, &argv, &comm)) || !fine(dx_comm_start_alone(&alone))) return 99;
  rank = dx_comm_rank(comm);
  size = dx_comm_size(comm);
  if (rank == 0 && !mkdtemp(dir)) return 99;
  dx_comm_broadcast(comm, dir, sizeof dir);
  procedural_sets();
  shapes();
  flips();
  mixtures();
  small_sets();
  seeds();
  through_a_file("moons");
  through_a_file("checkerboard");
  bad_files();
  images();
  damage();
  if (size == 1) show();
  dx_comm_barrier(comm);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (rank == 0 && system(command)) printf("# %s is left\n", dir);
  if (rank == 0) status = done();
  dx_comm_stop(alone);
  dx_comm_stop(comm);
  return status;
}
