/* SPDX-License-Identifier: Apache-2.0 */
/* io/unpack.c - see unpack.h. Each library is behind one function that moves bytes from `in` to `out`. */
#include "io/unpack.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef DX_ZLIB
#include <zlib.h>
#endif
#ifdef DX_LZMA
#include <lzma.h>
#endif
#ifdef DX_ZSTD
#include <zstd.h>
#endif

#include "base/sha256.h"

enum { PLAIN, GZIP, XZ, ZSTD, PACKINGS };
enum { ROOM = 1 << 16 };

struct dx_unpack {
  char path[4096];
  FILE *f;
  int packing;
  int64_t size, read, given;         /* of the file; bytes of it read; of content handed out */
  dx_sha256 sha;
  bool file_over, content_over;
  bool between;                      /* at the end of a packed stream: the file may end, too */
  unsigned char in[ROOM], out[ROOM];
  size_t in_at, in_n, out_at, out_n;
#ifdef DX_ZLIB
  z_stream gzip;
#endif
#ifdef DX_LZMA
  lzma_stream xz;
#endif
#ifdef DX_ZSTD
  ZSTD_DStream *zstd;
#endif
};

static dx_error *fill(dx_unpack *u)
{
  const size_t n = fread(u->in, 1, ROOM, u->f);

  if (n < ROOM && ferror(u->f)) return DX_FAIL(IO, "cannot read %s: %s", u->path, strerror(errno));
  u->in_at = 0;
  u->in_n = n;
  u->read += (int64_t)n;
  u->file_over = n == 0;
  dx_sha256_add(&u->sha, u->in, n);
  return NULL;
}

static dx_error *damaged(const dx_unpack *u, const char *packing, const char *what)
{
  return DX_FAIL(DATA, "%s is damaged at byte %lld of %lld (%s: %s)", u->path,
                 (long long)(u->read - (int64_t)(u->in_n - u->in_at)), (long long)u->size, packing, what);
}

#ifdef DX_ZLIB
static dx_error *step_gzip(dx_unpack *u)
{
  z_stream *const z = &u->gzip;
  int said;

  z->next_in = u->in + u->in_at;
  z->avail_in = (uInt)(u->in_n - u->in_at);
  z->next_out = u->out;
  z->avail_out = ROOM;
  said = inflate(z, Z_NO_FLUSH);
  u->in_at = u->in_n - z->avail_in;
  u->out_n = ROOM - z->avail_out;
  if (said == Z_STREAM_END) {
    u->between = true;
    inflateReset(z); /* another member may follow */
  } else if (said == Z_OK) u->between = false;
  else if (said != Z_BUF_ERROR) return damaged(u, "gzip", z->msg ? z->msg : "not a gzip stream");
  return NULL;
}
#endif

#ifdef DX_LZMA
static dx_error *step_xz(dx_unpack *u)
{
  lzma_stream *const z = &u->xz;
  lzma_ret said;

  z->next_in = u->in + u->in_at;
  z->avail_in = u->in_n - u->in_at;
  z->next_out = u->out;
  z->avail_out = ROOM;
  said = lzma_code(z, u->file_over ? LZMA_FINISH : LZMA_RUN);
  u->in_at = u->in_n - z->avail_in;
  u->out_n = ROOM - z->avail_out;
  if (said == LZMA_STREAM_END) u->content_over = true;
  else if (said == LZMA_BUF_ERROR && u->file_over) return damaged(u, "xz", "it ends in the middle");
  else if (said == LZMA_MEM_ERROR) return DX_FAIL(INTERNAL, "no memory to unpack %s", u->path);
  else if (said != LZMA_OK && said != LZMA_BUF_ERROR) return damaged(u, "xz", "not what was packed");
  return NULL;
}
#endif

#ifdef DX_ZSTD
static dx_error *step_zstd(dx_unpack *u)
{
  ZSTD_inBuffer in = {.src = u->in, .size = u->in_n, .pos = u->in_at};
  ZSTD_outBuffer out = {.dst = u->out, .size = ROOM};
  const size_t said = ZSTD_decompressStream(u->zstd, &out, &in);

  u->in_at = in.pos;
  u->out_n = out.pos;
  if (ZSTD_isError(said)) return damaged(u, "zstd", ZSTD_getErrorName(said));
  u->between = said == 0;
  return NULL;
}
#endif

static dx_error *step_plain(dx_unpack *u)
{
  u->out_n = u->in_n - u->in_at;
  memcpy(u->out, u->in + u->in_at, u->out_n);
  u->in_at = u->in_n;
  u->between = true;
  return NULL;
}

static const struct {
  const char *name, *library;
  unsigned char magic[6];
  size_t length;
  dx_error *(*step)(dx_unpack *u); /* NULL: this build has not the library */
} packings[PACKINGS] = {
  [PLAIN] = {.name = "plain", .step = step_plain},
  [GZIP] = {.name = "gzip", .library = "zlib", .magic = {0x1f, 0x8b}, .length = 2,
#ifdef DX_ZLIB
            .step = step_gzip
#endif
  },
  [XZ] = {.name = "xz", .library = "liblzma", .magic = {0xfd, '7', 'z', 'X', 'Z', 0}, .length = 6,
#ifdef DX_LZMA
          .step = step_xz
#endif
  },
  [ZSTD] = {.name = "zstd", .library = "libzstd", .magic = {0x28, 0xb5, 0x2f, 0xfd}, .length = 4,
#ifdef DX_ZSTD
            .step = step_zstd
#endif
  },
};

static dx_error *start(dx_unpack *u)
{
  bool good = true;

  for (int k = 1; k < PACKINGS; k++)
    if (u->in_n >= packings[k].length && !memcmp(u->in, packings[k].magic, packings[k].length)) u->packing = k;
  if (!packings[u->packing].step)
    return DX_FAIL(IO, "%s is packed by %s, and this diffx was built without %s; unpack the file, or build diffx "
                   "where configure finds %s", u->path, packings[u->packing].name, packings[u->packing].library,
                   packings[u->packing].library);
#ifdef DX_ZLIB
  if (u->packing == GZIP) good = inflateInit2(&u->gzip, 15 + 16) == Z_OK;
#endif
#ifdef DX_LZMA
  if (u->packing == XZ) good = lzma_stream_decoder(&u->xz, UINT64_MAX, LZMA_CONCATENATED) == LZMA_OK;
#endif
#ifdef DX_ZSTD
  if (u->packing == ZSTD) good = (u->zstd = ZSTD_createDStream()) != NULL;
#endif
  return good ? NULL : DX_FAIL(INTERNAL, "no memory to unpack %s", u->path);
}

dx_error *dx_unpack_open(const char *path, dx_unpack **out)
{
  dx_unpack *u = calloc(1, sizeof *u);
  struct stat s;
  dx_error *err = NULL;

  if (!u) return DX_FAIL(INTERNAL, "no memory to read %s", path);
  snprintf(u->path, sizeof u->path, "%s", path);
  dx_sha256_init(&u->sha);
  u->f = fopen(path, "rb");
  if (!u->f || fstat(fileno(u->f), &s)) err = DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  else if (S_ISDIR(s.st_mode)) err = DX_FAIL(IO, "cannot read %s: it is a folder", path);
  else u->size = s.st_size;
  if (!err) err = fill(u);
  if (!err) err = start(u);
  if (err) dx_unpack_close(u);
  else *out = u;
  return err;
}

void dx_unpack_close(dx_unpack *u)
{
  if (!u) return;
  if (u->f) fclose(u->f);
#ifdef DX_ZLIB
  if (u->packing == GZIP) inflateEnd(&u->gzip);
#endif
#ifdef DX_LZMA
  lzma_end(&u->xz);
#endif
#ifdef DX_ZSTD
  ZSTD_freeDStream(u->zstd);
#endif
  free(u);
}

/* More content into u->out, or u->content_over. */
static dx_error *more(dx_unpack *u)
{
  u->out_at = u->out_n = 0;
  while (u->out_n == 0 && !u->content_over) {
    if (u->in_at == u->in_n && !u->file_over) DX_TRY(fill(u));
    if (u->file_over && u->packing != XZ) {
      if (!u->between && u->size > 0) return damaged(u, packings[u->packing].name, "it ends in the middle");
      u->content_over = true;
      return NULL;
    }
    DX_TRY(packings[u->packing].step(u));
  }
  return NULL;
}

dx_error *dx_unpack_some(dx_unpack *u, void *out, size_t n, size_t *got)
{
  *got = 0;
  while (*got < n) {
    if (u->out_at == u->out_n) DX_TRY(more(u));
    if (u->out_at == u->out_n) break;
    const size_t left = n - *got, there = u->out_n - u->out_at, m = left < there ? left : there;

    memcpy((char *)out + *got, u->out + u->out_at, m);
    u->out_at += m;
    *got += m;
    u->given += (int64_t)m;
  }
  return NULL;
}

dx_error *dx_unpack_read(dx_unpack *u, void *out, size_t n)
{
  const int64_t at = u->given;
  size_t got;

  DX_TRY(dx_unpack_some(u, out, n, &got));
  if (got == n) return NULL;
  return DX_FAIL(DATA, "%s%s ends at byte %lld; at least %lld are wanted", u->path,
                 u->packing ? ", unpacked," : "", (long long)u->given, (long long)(at + (int64_t)n));
}

dx_error *dx_unpack_end(dx_unpack *u, char sha256[65])
{
  const int64_t at = u->given;
  unsigned char one;
  size_t got;

  DX_TRY(dx_unpack_some(u, &one, 1, &got));
  if (got) return DX_FAIL(DATA, "%s%s goes on after byte %lld, where it should end", u->path,
                          u->packing ? ", unpacked," : "", (long long)at);
  dx_sha256_end(&u->sha, sha256);
  return NULL;
}

int64_t dx_unpack_at(const dx_unpack *u) { return u->given; }

double dx_unpack_part(const dx_unpack *u) { return u->size > 0 ? (double)u->read / (double)u->size : 1; }
