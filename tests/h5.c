/* SPDX-License-Identifier: Apache-2.0 */
/* tests/h5.c - files are built in memory, saved whole, read back, and refused when they are bad. */
#define _GNU_SOURCE /* memmem */
#include "io/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/file.h"
#include "errors.h"
#include "tap.h"

static char dir[] = "/tmp/diffx-h5-XXXXXX";

static const char *in(const char *name) { return path_in(dir, name); }

/* n = 5 rows of (2, 3). */
static const dx_h5_info cube = {.type = DX_H5_F32, .rank = 3, .dim = {5, 2, 3}};
static float value(int i) { return (float)i * 0.25f - 3; }

static void fill(float *x) { for (int i = 0; i < 30; i++) x[i] = value(i); }

/* A file with a bit of everything. */
static int build(dx_h5 **f)
{
  static const char *const words[3] = {"eins", "", "dr\303\274ber"};
  const dx_h5_info scalar = {.type = DX_H5_F64}, names = {.type = DX_H5_TEXT, .rank = 1, .dim = {3}};
  const dx_h5_info none = {.type = DX_H5_I64, .rank = 2, .dim = {0, 4}};
  const dx_h5_info line = {.type = DX_H5_I64, .rank = 1, .dim = {3}};
  const dx_h5_storage packed = {.rows_per_chunk = 2, .compress = true}, automatic = {0};
  const int64_t t[3] = {1, 2, 3};
  const double pi = 3.25;
  float x[30];
  int good = fine(dx_h5_create(f));

  fill(x);
  good &= fine(dx_h5_set_int(*f, "/", "format", 1)) & fine(dx_h5_set_text(*f, "/", "program", "diffx"));
  good &= fine(dx_h5_set_text(*f, "/", "content", "first"));
  good &= fine(dx_h5_set_text(*f, "/", "content", "test \342\202\254")); /* replaced */
  good &= fine(dx_h5_set_text(*f, "/", "nothing", ""));
  good &= fine(dx_h5_write(*f, "a/b/x", &cube, x, "nats", "a cube", &packed));
  good &= fine(dx_h5_write(*f, "/a/plain", &cube, NULL, "1", "rows come later", NULL));
  for (int i = 4; i >= 0; i -= 2) good &= fine(dx_h5_write_rows(*f, "a/plain", i, 1, x + 6 * i));
  for (int i = 1; i < 5; i += 2) good &= fine(dx_h5_write_rows(*f, "a/plain", i, 1, x + 6 * i));
  good &= fine(dx_h5_write(*f, "a/scalar", &scalar, &pi, "1", "one number", NULL));
  good &= fine(dx_h5_write(*f, "a/words", &names, words, "text", "three words", NULL));
  good &= fine(dx_h5_write(*f, "a/empty", &none, NULL, "1", "no rows", &automatic));
  good &= fine(dx_h5_write(*f, "t", &line, t, "1", "the last dimension", NULL));
  good &= fine(dx_h5_attach_scale(*f, "a/b/x", 2, "t", "t"));
  good &= fine(dx_h5_attach_scale(*f, "a/plain", 2, "t", "t"));
  good &= fine(dx_h5_set_real(*f, "a/b/x", "scale", 0.1));
  return good & fine(dx_h5_group(*f, "bare/group"));
}

static int same_cube(dx_h5 *f, const char *path)
{
  float x[30];
  double y[12];
  int bad;

  if (!fine(dx_h5_read(f, path, DX_H5_F32, x)) || !fine(dx_h5_read_rows(f, path, DX_H5_F64, 2, 2, y)))
    return 0;
  bad = 0;
  for (int i = 0; i < 30; i++) bad += x[i] != value(i);
  for (int i = 0; i < 12; i++) bad += y[i] != value(12 + i);
  return !bad;
}

static void read_back(dx_h5 *f)
{
  dx_h5_info info;
  char *words[3] = {0}, **names = NULL, *text = NULL;
  int64_t whole = 0;
  double real = 0;
  int n = 0;

  ok(fine(dx_h5_look(f, "/a/b/x", &info)) && info.type == DX_H5_F32 && info.rank == 3 &&
     info.dim[0] == 5 && info.dim[1] == 2 && info.dim[2] == 3, "shape and type");
  ok(same_cube(f, "a/b/x"), "packed chunks read back, whole and by rows, as float and double");
  ok(same_cube(f, "a/plain"), "rows written one by one read back");
  ok(fine(dx_h5_read(f, "a/scalar", DX_H5_F64, &real)) && real == 3.25, "a scalar");
  ok(fine(dx_h5_read(f, "a/words", DX_H5_TEXT, words)) && !strcmp(words[0], "eins") &&
     !strcmp(words[1], "") && !strcmp(words[2], "dr\303\274ber"), "texts");
  for (int i = 0; i < 3; i++) free(words[i]);
  ok(fine(dx_h5_look(f, "a/empty", &info)) && info.dim[0] == 0 &&
     fine(dx_h5_read(f, "a/empty", DX_H5_I64, &whole)), "a dataset without rows");
  ok(fine(dx_h5_get_int(f, "/", "format", &whole)) && whole == 1, "a whole number as attribute");
  ok(fine(dx_h5_get_real(f, "a/b/x", "scale", &real)) && real == 0.1, "a real one");
  ok(fine(dx_h5_get_real(f, "/", "format", &real)) && real == 1, "a whole one read as real");
  ok(fine(dx_h5_get_text(f, "/", "content", &text)) && !strcmp(text, "test \342\202\254"),
     "text, the later one");
  free(text);
  ok(fine(dx_h5_get_text(f, "/", "nothing", &text)) && !strcmp(text, ""), "an empty text");
  free(text);
  ok(fine(dx_h5_get_text(f, "a/b/x", "units", &text)) && !strcmp(text, "nats"), "units");
  free(text);
  ok(fine(dx_h5_list(f, "a", &names, &n)) && n == 5 && !strcmp(names[0], "b") &&
     !strcmp(names[4], "words"), "members of a group, sorted");
  dx_h5_names_free(names, n);
  ok(fine(dx_h5_list_attrs(f, "/", &names, &n)) && n == 4 && !strcmp(names[0], "content") &&
     !strcmp(names[3], "program"), "attributes of the file, sorted");
  dx_h5_names_free(names, n);
  ok(dx_h5_has(f, "/") && dx_h5_has(f, "/bare/group") && dx_h5_has(f, "a/b") &&
     !dx_h5_has(f, "a/c") && !dx_h5_has(f, "no/way/here") && !dx_h5_has(f, "t/below"),
     "what is there and what is not");
  ok(dx_h5_has_attr(f, "/", "format") && !dx_h5_has_attr(f, "/", "formaT") &&
     !dx_h5_has_attr(f, "/c", "format"), "attributes that are there and not");
}

static void refused_reads(dx_h5 *f)
{
  float x[64];
  dx_h5_info info;
  int64_t whole;
  double real;
  char *text;

  ok(fails(dx_h5_read(f, "a/c", DX_H5_F32, x), DX_E_DATA, "f.h5 has no a/c"), "a missing dataset");
  ok(fails(dx_h5_look(f, "a", &info), DX_E_DATA, "a is not a dataset"), "a group is no dataset");
  ok(fails(dx_h5_read_rows(f, "a/b/x", DX_H5_F32, 4, 2, x), DX_E_INTERNAL, "has 5 rows"),
     "rows beyond the end");
  ok(fails(dx_h5_read_rows(f, "a/b/x", DX_H5_F32, INT64_MAX, 2, x), DX_E_INTERNAL, "has 5 rows"),
     "rows far beyond the end");
  ok(fails(dx_h5_read(f, "a/words", DX_H5_F32, x), DX_E_DATA, "text, not numbers"), "text as numbers");
  ok(fails(dx_h5_read(f, "t", DX_H5_TEXT, x), DX_E_DATA, "numbers, not text"), "numbers as text");
  ok(fails(dx_h5_get_int(f, "/", "seed", &whole), DX_E_DATA, "has no attribute seed"),
     "a missing attribute");
  ok(fails(dx_h5_get_int(f, "a/b/x", "scale", &whole), DX_E_DATA, "not one whole number"),
     "a real number where a whole one is wanted");
  ok(fails(dx_h5_get_real(f, "/", "program", &real), DX_E_DATA, "not one number"),
     "text where a number is wanted");
  ok(fails(dx_h5_get_text(f, "/", "format", &text), DX_E_DATA, "is not text"),
     "a number where text is wanted");
}

static void put_bytes(const char *path, const char *bytes, size_t size)
{
  fine(dx_file_write_atomic(path, bytes, size));
}

static int whole_reads(const char *path)
{
  dx_h5 *f = NULL;
  float x[30];
  dx_error *e = dx_h5_open(path, &f);

  if (!e) e = dx_h5_read(f, "a/b/x", DX_H5_F32, x);
  dx_h5_close(f);
  dx_error_free(e);
  return !e;
}

static void bad_files(void)
{
  char *bytes = NULL;
  size_t size = 0;
  dx_h5 *f = NULL;
  int bad = 0, hidden = 0;
  float x[30];

  ok(fails(dx_h5_open(in("none.h5"), &f), DX_E_IO, "none.h5: No such file"), "a missing file");
  ok(fails(dx_h5_open(dir, &f), DX_E_IO, "is a folder"), "a folder");
  put_bytes(in("zero.h5"), "", 0);
  ok(fails(dx_h5_open(in("zero.h5"), &f), DX_E_DATA, "is empty"), "an empty file");
  put_bytes(in("text.h5"), "just some text, and longer than eight bytes", 43);
  ok(fails(dx_h5_open(in("text.h5"), &f), DX_E_DATA, "is not an HDF5 file"), "not an HDF5 file");

  fine(dx_file_read(in("f.h5"), 1 << 24, &bytes, &size));
  ok(fine(dx_h5_open_sealed(in("f.h5"), &f)), "a file as it was saved");
  dx_h5_close(f);
  f = NULL;
  bytes[size / 2] ^= 1;
  put_bytes(in("cut.h5"), bytes, size);
  ok(fails(dx_h5_open_sealed(in("cut.h5"), &f), DX_E_DATA, "cut.h5 is damaged"), "with another bit");
  bytes[size / 2] ^= 1;
  size -= 16;
  put_bytes(in("cut.h5"), bytes, size);
  ok(fails(dx_h5_open_sealed(in("cut.h5"), &f), DX_E_DATA, "cut.h5 has no seal"), "without its seal");
  for (size_t cut = 8; cut < size; cut += cut < 200 ? 1 : size / 50) {
    dx_error *e;

    put_bytes(in("cut.h5"), bytes, cut);
    e = dx_h5_open(in("cut.h5"), &f);
    if (!e || dx_error_code(e) != DX_E_DATA || !strstr(dx_error_text(e), "cut.h5 is truncated")) bad++;
    dx_error_free(e);
  }
  put_bytes(in("cut.h5"), bytes, size - 1);
  bad += !fails(dx_h5_open(in("cut.h5"), &f), DX_E_DATA, "is truncated");
  ok(!bad, "cut anywhere, the file is called truncated");

  for (size_t at = 8; at < size; at += size / 150) { /* whatever byte is wrong, no crash and no noise */
    bytes[at] = (char)(bytes[at] ^ 0x55);
    put_bytes(in("damaged.h5"), bytes, size);
    hidden += whole_reads(in("damaged.h5"));
    bytes[at] = (char)(bytes[at] ^ 0x55);
  }
  ok(hidden < 150, "damage is met with an error or has no effect");

  fine(dx_h5_open(in("f.h5"), &f));
  fine(dx_h5_read(f, "a/plain", DX_H5_F32, x));
  dx_h5_close(f);
  free(bytes);
}

/* A chunk with a wrong byte: the checksum finds it. */
static void checksum(void)
{
  const dx_h5_info flat = {.type = DX_H5_U8, .rank = 2, .dim = {64, 16}};
  const dx_h5_storage chunks = {.rows_per_chunk = 8};
  static unsigned char x[64 * 16];
  char *bytes = NULL, *at;
  size_t size = 0;
  dx_h5 *f = NULL;

  for (int i = 0; i < 64 * 16; i++) x[i] = (unsigned char)(i / 16 + 100);
  fine(dx_h5_create(&f));
  fine(dx_h5_write(f, "x", &flat, x, "1", "rows", &chunks));
  fine(dx_h5_save(f, in("sum.h5")));
  dx_h5_close(f);
  f = NULL;
  fine(dx_file_read(in("sum.h5"), 1 << 24, &bytes, &size));
  at = memmem(bytes, size, x + 40 * 16, 16);
  if (at) at[3] = 7;
  put_bytes(in("sum.h5"), bytes, size);
  free(bytes);
  fine(dx_h5_open(in("sum.h5"), &f));
  ok(fine(dx_h5_read_rows(f, "x", DX_H5_U8, 0, 40, x)), "rows of good chunks are read");
  ok(fails(dx_h5_read_rows(f, "x", DX_H5_U8, 39, 2, x), DX_E_DATA, "sum.h5: cannot read x: ") &&
     fails(dx_h5_read(f, "x", DX_H5_U8, x), DX_E_DATA, "hecksum"), "a damaged chunk is found");
  dx_h5_close(f);
}

static void equal_bytes(void)
{
  char *one = NULL, *two = NULL;
  size_t n = 0, m = 0;
  dx_h5 *f = NULL;
  unsigned char *soil;

  sleep(1); /* a stored time would differ */
  soil = malloc(1 << 20);
  memset(soil, 0xA5, 1 << 20);
  free(soil);
  build(&f);
  fine(dx_h5_save(f, in("again.h5")));
  ok(fine(dx_h5_save(f, in("twice.h5"))), "a file can be saved twice");
  dx_h5_close(f);
  fine(dx_file_read(in("f.h5"), 1 << 24, &one, &n));
  fine(dx_file_read(in("again.h5"), 1 << 24, &two, &m));
  ok(n == m && !memcmp(one, two, n), "equal content gives equal bytes (%zu)", n);
  free(two);
  fine(dx_file_read(in("twice.h5"), 1 << 24, &two, &m));
  ok(n == m && !memcmp(one, two, n), "also the second time");
  free(one);
  free(two);
}

static void refused_writes(void)
{
  const dx_h5_info huge = {.type = DX_H5_F64, .rank = 3, .dim = {1LL << 31, 1LL << 31, 8}};
  const dx_h5_info negative = {.type = DX_H5_F64, .rank = 1, .dim = {-1}};
  dx_h5 *f = NULL;
  float x = 0;

  build(&f);
  ok(fails(dx_h5_write(f, "huge", &huge, NULL, "1", "no", NULL), DX_E_DATA, "more than 2^63"),
     "sizes that overflow");
  ok(fails(dx_h5_write(f, "negative", &negative, NULL, "1", "no", NULL), DX_E_DATA, "make no sense"),
     "a negative size");
  ok(fails(dx_h5_write(f, "t", &cube, NULL, "1", "no", NULL), DX_E_INTERNAL, "make the dataset t"),
     "a name that is taken");
  ok(fails(dx_h5_write_rows(f, "a/plain", 5, 1, &x), DX_E_INTERNAL, "has 5 rows; 1 from row 5"),
     "rows beyond the end");
  ok(fails(dx_h5_save(f, in("no/f.h5")), DX_E_IO, "no/f.h5: No such file"), "no such folder");
  ok(fine(dx_h5_save(f, in("after.h5"))), "after all this the file can be saved");
  dx_h5_close(f);
}

/* More than the address of one increment, and the sizes of a large file. */
static void large(void)
{
  const int64_t n = 3000000;
  const dx_h5_info line = {.type = DX_H5_F64, .rank = 1, .dim = {n}};
  double *x = malloc((size_t)n * sizeof *x);
  dx_h5 *f = NULL;
  int bad = 0;

  for (int64_t i = 0; i < n; i++) x[i] = (double)i;
  fine(dx_h5_create(&f));
  bad += !fine(dx_h5_write(f, "x", &line, x, "1", "a long line", NULL));
  bad += !fine(dx_h5_save(f, in("large.h5")));
  dx_h5_close(f);
  f = NULL;
  memset(x, 0, (size_t)n * sizeof *x);
  bad += !fine(dx_h5_open(in("large.h5"), &f)) || !fine(dx_h5_read(f, "x", DX_H5_F64, x));
  dx_h5_close(f);
  for (int64_t i = 0; i < n; i++) bad += x[i] != (double)i;
  ok(!bad, "a file of 24 MB");
  free(x);
}

enum { LONG = 100000 };

/* Two long datasets among short ones; sent ahead for `file`, or not. */
static dx_h5 *two_long(const char *file)
{
  const dx_h5_info line = {.type = DX_H5_F64, .rank = 1, .dim = {LONG}};
  double *const x = malloc(LONG * sizeof *x);
  dx_h5 *f = NULL;
  int bad = !x || !fine(dx_h5_create(&f));

  for (int k = 0; k < 2 && !bad; k++) {
    const char *const path = k ? "deep/in/second" : "first";

    for (int i = 0; i < LONG; i++) x[i] = i + k / 2.0;
    bad += !fine(dx_h5_write(f, path, &line, x, "1", "long", NULL));
    bad += file && !fine(dx_h5_send(f, file, path));
    bad += !fine(dx_h5_set_int(f, "/", k ? "two" : "one", k));
  }
  free(x);
  if (bad) dx_h5_close(f);
  return bad ? NULL : f;
}

static void sent_ahead(void)
{
  dx_h5 *f = two_long(NULL);
  char *whole = NULL, *sent = NULL;
  size_t n = 0, m = 1;

  ok(f && fine(dx_h5_save(f, in("whole.h5"))), "two long datasets");
  dx_h5_close(f);
  f = two_long(in("sent.h5"));
  ok(f && dx_file_exists(in("sent.h5.part")), "sent ahead they are in the temporary file");
  ok(f && fine(dx_h5_save(f, in("sent.h5"))) && !dx_file_exists(in("sent.h5.part")) && fine(dx_file_check_seal(in("sent.h5"))),
     "which becomes the file, sealed");
  dx_h5_close(f);
  ok(fine(dx_file_read(in("whole.h5"), 1 << 24, &whole, &n)) && fine(dx_file_read(in("sent.h5"), 1 << 24, &sent, &m)) &&
     n == m && n > 16 * LONG && !memcmp(whole, sent, n), "the same bytes as without");
  free(whole);
  free(sent);
  dx_h5_close(two_long(in("never.h5")));
  ok(!dx_file_exists(in("never.h5")) && !dx_file_exists(in("never.h5.part")), "closed without being saved it leaves nothing");
}

/* MiB of this process that are in memory; 0 where it cannot be told. */
static double resident(void)
{
  FILE *const f = fopen("/proc/self/statm", "r");
  long all = 0, here = 0;

  if (f && fscanf(f, "%ld %ld", &all, &here) != 2) here = 0;
  if (f) fclose(f);
  return (double)here * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void sent_gives_back(void)
{
  const int64_t n = 40 << 20;
  const dx_h5_info line = {.type = DX_H5_U8, .rank = 1, .dim = {n}}, none = {.type = DX_H5_F32, .rank = 1, .dim = {0}};
  char *const x = malloc((size_t)n);
  dx_h5 *f = NULL;

  if (!x || !fine(dx_h5_create(&f))) return;
  memset(x, 1, (size_t)n);
  fine(dx_h5_write(f, "x", &line, x, "1", "long", NULL));
  const double before = resident();
  ok(fine(dx_h5_send(f, in("large.h5"), "x")) && (before == 0 || before - resident() > 30), "what is sent leaves the memory");
  ok(fine(dx_h5_write(f, "none", &none, NULL, "1", "empty", NULL)) && fine(dx_h5_send(f, in("large.h5"), "none")) &&
     fine(dx_h5_save(f, in("large.h5"))), "an empty dataset has nothing to send");
  dx_h5_close(f);
  free(x);
}

static void disk_full(void)
{
  const char *small = in("small");
  char path[300];
  dx_h5 *f = NULL;
  const dx_h5_info line = {.type = DX_H5_U8, .rank = 1, .dim = {100000}};
  static unsigned char x[100000];

  fine(dx_folder_make(small));
  if (mount("none", small, "tmpfs", 0, "size=64k")) {
    ok(1, "disk full # SKIP no rights to mount a tmpfs");
    return;
  }
  snprintf(path, sizeof path, "%s/f.h5", small);
  build(&f);
  ok(fine(dx_h5_save(f, path)), "a small file on a small disk");
  fine(dx_h5_write(f, "more", &line, x, "1", "too much", NULL));
  ok(fails(dx_h5_save(f, path), DX_E_IO, "small/f.h5: No space left on device") && whole_reads(path),
     "disk full: told, and the older file stands");
  strcat(path, ".part");
  ok(!dx_file_exists(path), "disk full: no temporary file is left");
  path[strlen(path) - 5] = '\0';
  ok(fails(dx_h5_send(f, path, "more"), DX_E_IO, "small/f.h5: No space left on device") && whole_reads(path),
     "disk full: told of data that are sent ahead");
  dx_h5_close(f);
  strcat(path, ".part");
  ok(!dx_file_exists(path), "disk full: nor is one of them left");
  umount(small);
}

/* What the Python world sees. */
static void by_h5py(void)
{
  static const char script[] =
    "import h5py, sys, numpy as np\n"
    "f = h5py.File(sys.argv[1])\n"
    "a, x = f.attrs, f['a/b/x']\n"
    "assert a['format'] == 1 and isinstance(a['program'], str) and a['program'] == 'diffx'\n"
    "assert a['content'] == 'test \\u20ac' and a['nothing'] == ''\n"
    "assert x.attrs['units'] == 'nats' and x.attrs['description'] == 'a cube'\n"
    "assert x.shape == (5, 2, 3) and x.dtype == np.float32 and x.fletcher32 and x.shuffle\n"
    "assert np.array_equal(x[...].ravel(), np.arange(30) * 0.25 - 3)\n"
    "assert x.dims[2].label == 't' and list(x.dims[2]['t']) == [1, 2, 3]\n"
    "assert f['a/words'].asstr()[2] == 'dr\\u00fcber'\n"
    "assert list(f['bare/group']) == [] and f['a/empty'].shape == (0, 4)\n";
  static const char make[] =
    "import h5py, sys, numpy as np\n"
    "x = np.arange(30, dtype='f4').reshape(5, 2, 3) * 0.25 - 3\n"
    "new = ('v110', 'v110')\n"
    "for name, options in ('new', {'libver': new}), ('block', {'userblock_size': 1024}), "
    "('both', {'libver': new, 'userblock_size': 512}):\n"
    "  with h5py.File(sys.argv[1] + '/' + name + '.h5', 'w', **options) as f:\n"
    "    f['a/b/x'] = x\n"
    "    f['bool'] = np.array([True])\n"
    "    f['a'].attrs['names'] = ['x', 'yy']\n"
    "    f['a'].attrs['fixed'] = np.bytes_('latin')\n";
  char command[400];
  dx_h5 *f = NULL;
  dx_h5_info info;
  char *text = NULL;

  if (system("python3 -c 'import h5py, numpy' 2>/dev/null")) {
    ok(1, "h5py # SKIP not installed");
    return;
  }
  put_bytes(in("look.py"), script, sizeof script - 1);
  put_bytes(in("make.py"), make, sizeof make - 1);
  snprintf(command, sizeof command, "python3 %s %s", in("look.py"), in("f.h5"));
  ok(system(command) == 0, "h5py opens the file by the plain call and reads attributes as text");
  snprintf(command, sizeof command, "python3 %s %s", in("make.py"), dir);
  ok(system(command) == 0 && whole_reads(in("new.h5")) && whole_reads(in("block.h5")) &&
     whole_reads(in("both.h5")), "files of h5py: new format, user block, both");
  fine(dx_h5_open(in("new.h5"), &f));
  ok(same_cube(f, "a/b/x"), "their values");
  ok(fails(dx_h5_look(f, "bool", &info), DX_E_DATA, "bool has a type"), "a type that is not ours");
  ok(fine(dx_h5_get_text(f, "a", "names", &text)) && !strcmp(text, "x\nyy"), "an array of texts");
  free(text);
  text = NULL;
  ok(fine(dx_h5_get_text(f, "a", "fixed", &text)) && !strcmp(text, "latin"), "text of fixed length");
  free(text);
  dx_h5_close(f);
}

static void no_permission(void)
{
  pid_t child;
  int status = 0;

  put_bytes(in("secret.h5"), "x", 1);
  chmod(in("secret.h5"), 0);
  chmod(dir, 0711);
  fflush(stdout);
  child = fork();
  if (!child) {
    dx_h5 *f;

    if (geteuid() == 0 && setuid(65534)) _exit(1);
    _exit(!fails(dx_h5_open(in("secret.h5"), &f), DX_E_IO, "secret.h5: Permission denied"));
  }
  waitpid(child, &status, 0);
  ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a file without read permission");
}

int main(void)
{
  dx_h5 *f = NULL;
  char command[300];

  if (!mkdtemp(dir)) return 99;
  ok(build(&f) && fine(dx_h5_save(f, in("f.h5"))), "a file is built and saved");
  dx_h5_close(f);
  f = NULL;
  ok(fine(dx_h5_open(in("f.h5"), &f)), "and opened");
  read_back(f);
  refused_reads(f);
  dx_h5_close(f);
  dx_h5_close(NULL);
  ok(strchr(dx_h5_version(), '.') && dx_h5_version()[0] >= '1', "HDF5 %s", dx_h5_version());
  bad_files();
  checksum();
  equal_bytes();
  refused_writes();
  large();
  sent_ahead();
  sent_gives_back();
  disk_full();
  by_h5py();
  no_permission();
  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (system(command)) printf("# %s is left\n", dir);
  return done();
}
