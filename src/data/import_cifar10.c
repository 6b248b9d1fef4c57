/* SPDX-License-Identifier: Apache-2.0 */
/* data/import_cifar10.c - CIFAR-10, binary version: six files of 10,000 records, each a label and three
   planes of 32 x 32 (Krizhevsky 2009), in a folder or a tar file. */
#include "data/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, RECORD = 1 + 3 * PIXELS, RECORDS = 10000, PIECE = 500, BATCHES = 6, BLOCK = 512 };

static const dx_option options[] = {DX_OPTION_END};
static const char *const batch_name[BATCHES] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                                "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

/* Room for PIECE records as they are read and as they are written. */
typedef struct {
  uint8_t record[PIECE][RECORD], image[PIECE][PIXELS][3];
  int32_t label[PIECE];
} room;

static void turn(const uint8_t *planes, uint8_t (*image)[3])
{
  for (int i = 0; i < PIXELS; i++)
    for (int k = 0; k < 3; k++) image[i][k] = planes[k * PIXELS + i];
}

static dx_error *read_batch(dx_import *m, dx_unpack *u, const char *path, int batch, room *r)
{
  const dx_split split = batch == BATCHES - 1 ? DX_TEST : DX_TRAIN;
  const int64_t first = split == DX_TRAIN ? (int64_t)batch * RECORDS : 0;

  for (int at = 0; at < RECORDS; at += PIECE) {
    const int64_t byte = dx_unpack_at(u);

    DX_TRY(dx_unpack_read(u, r->record, sizeof r->record));
    for (int i = 0; i < PIECE; i++) {
      r->label[i] = r->record[i][0];
      if (r->label[i] > 9)
        return DX_FAIL(DATA, "%s: record %d of %s has label %d at byte %lld of the content; allowed: 0 to 9", path, at + i,
                       batch_name[batch], (int)r->label[i], (long long)byte + (long long)i * RECORD);
      turn(r->record[i] + 1, r->image[i]);
    }
    DX_TRY(dx_import_rows(m, split, first + at, PIECE, r->image, r->label));
  }
  return NULL;
}

static dx_error *read_folder(dx_import *m, const char *folder, room *r)
{
  char path[4096];

  for (int k = 0; k < BATCHES; k++) {
    dx_unpack *u;
    dx_error *err;

    if (!dx_import_find(folder, batch_name[k], path))
      return DX_FAIL(IO, "%s has no %s (nor the same with .gz, .xz or .zst); the binary version of CIFAR-10 is wanted",
                     folder, batch_name[k]);
    DX_TRY(dx_unpack_open(path, &u));
    err = read_batch(m, u, path, k, r);
    if (!err) err = dx_import_end_of(m, u, path);
    dx_unpack_close(u);
    if (err) return err;
    dx_import_progress(m, (k + 1.0) / BATCHES);
  }
  return NULL;
}

static dx_error *skip(dx_unpack *u, int64_t n, room *r)
{
  while (n > 0) {
    const size_t m = n < (int64_t)sizeof r->record ? (size_t)n : sizeof r->record;

    DX_TRY(dx_unpack_read(u, r->record, m));
    n -= (int64_t)m;
  }
  return NULL;
}

/* The sum of a tar header's bytes with blanks for the sum itself. */
static bool header_is_whole(const char *h)
{
  long sum = 0;

  for (int i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : (unsigned char)h[i];
  return sum == strtol(h + 148, NULL, 8);
}

static int batch_of(const char *name)
{
  const char *const slash = strrchr(name, '/');

  for (int k = 0; k < BATCHES; k++)
    if (!strcmp(slash ? slash + 1 : name, batch_name[k])) return k;
  return -1;
}

static dx_error *read_members(dx_import *m, dx_unpack *u, const char *path, bool seen[BATCHES], room *r)
{
  for (;;) {
    char h[BLOCK + 1] = "", name[101] = "", digits[13] = "";
    const int64_t at = dx_unpack_at(u);
    int64_t size;
    size_t got;
    int k;

    DX_TRY(dx_unpack_some(u, h, BLOCK, &got));
    if (got < BLOCK || !h[0]) return NULL; /* a block of zeros ends a tar file */
    if (!header_is_whole(h))
      return DX_FAIL(DATA, "%s has no tar header at byte %lld of its content: no tar file, or damaged", path, (long long)at);
    memcpy(name, h, 100);
    memcpy(digits, h + 124, 12);
    size = strtoll(digits, NULL, 8);
    k = h[156] == '0' || !h[156] ? batch_of(name) : -1;
    if (k >= 0 && size != (int64_t)RECORD * RECORDS)
      return DX_FAIL(DATA, "%s: %s has %lld bytes; %d records of %d bytes are wanted", path, name, (long long)size,
                     RECORDS, RECORD);
    if (k >= 0 && seen[k]) return DX_FAIL(DATA, "%s holds %s twice", path, batch_name[k]);
    if (k < 0) DX_TRY(skip(u, size, r));
    else {
      DX_TRY(read_batch(m, u, path, k, r));
      seen[k] = true;
    }
    DX_TRY(skip(u, (BLOCK - size % BLOCK) % BLOCK, r));
    dx_import_progress(m, dx_unpack_part(u));
  }
}

static dx_error *read_tar(dx_import *m, const char *path, room *r)
{
  bool seen[BATCHES] = {false};
  size_t got = 1;
  dx_unpack *u;
  dx_error *err;

  DX_TRY(dx_unpack_open(path, &u));
  err = read_members(m, u, path, seen, r);
  for (int k = 0; k < BATCHES && !err; k++)
    if (!seen[k])
      err = DX_FAIL(DATA, "%s has no %s; the binary version of CIFAR-10 is wanted", path, batch_name[k]);
  while (!err && got) err = dx_unpack_some(u, r->record, sizeof r->record, &got); /* padding */
  if (!err) err = dx_import_end_of(m, u, path);
  dx_unpack_close(u);
  return err;
}

static dx_error *run(const void *config, const char *source, dx_import *m)
{
  const dx_dataset_info info = {.sample = {1, SIDE, SIDE, 3}, .raw = DX_RAW_U8, .classes = 10, .modality = "image",
                                .count = {[DX_TRAIN] = (BATCHES - 1) * RECORDS, [DX_TEST] = RECORDS}};
  room *const r = malloc(sizeof *r);
  struct stat s;
  dx_error *err;

  (void)config;
  if (!r) return DX_FAIL(INTERNAL, "no memory for an import");
  err = dx_import_begin(m, &info, "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck");
  if (!err && !stat(source, &s) && S_ISDIR(s.st_mode)) err = read_folder(m, source, r);
  else if (!err) err = read_tar(m, source, r);
  free(r);
  return err;
}

const dx_importer dx_importer_cifar10 = {
  .name = "cifar10", .help = "CIFAR-10, binary version: its .tar.gz, or the folder in it",
  .options = options, .config_size = 1, .run = run,
};
