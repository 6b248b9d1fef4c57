/* SPDX-License-Identifier: Apache-2.0 */
/* io/journal.c - an append-only file of checksummed records.

     file    "diffxjl" and the format digit, then records
     record  size (8 bytes), kind (4), check (4), hash (8), then size bytes; little-endian
             check: the head's first 12 bytes, hash: the bytes, both seeded by the place in the file

   State: [0, end) holds good records only. A failed append cuts back to end, so that what
   comes later never stands behind a torn record. While restarted, fd is the new file under
   its temporary name and the old one stands under path. */
#include "io/file.h"

#include "base/hash.h"
#include "io/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAGIC = 8, HEAD = 24 };
static const char magic[MAGIC + 1] = "diffxjl1";

struct dx_journal {
  char *path, *part;
  int fd, old; /* old: the file that stands while a restart is under way, else -1 */
  int64_t end, old_end;
  bool broken; /* a torn record could not be cut away */
};

static void put(unsigned char *p, int bytes, uint64_t v)
{
  for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get(const unsigned char *p, int bytes)
{
  uint64_t v = 0;

  for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
  return v;
}

static void head_fill(unsigned char head[HEAD], int64_t at, uint32_t kind, const void *bytes,
                      size_t size)
{
  put(head, 8, size);
  put(head + 8, 4, kind);
  put(head + 12, 4, dx_hash(head, 12, (uint64_t)at));
  put(head + 16, 8, dx_hash(size > 0 ? bytes : head, size, (uint64_t)at));
}

/* size bytes at that place; how many there were, or -1 with errno. */
static int64_t read_at(int fd, void *out, size_t size, int64_t at)
{
  size_t got = 0;

  while (got < size) {
    const ssize_t n = pread(fd, (char *)out + got, size - got, at + (int64_t)got);

    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    got += (size_t)n;
  }
  return (int64_t)got;
}

static int write_at(int fd, struct iovec *v, int n, int64_t at)
{
  while (n > 0) {
    ssize_t did = pwritev(fd, v, n, at);

    if (did < 0 && errno == EINTR) continue;
    if (did < 0) return errno;
    if (did == 0) return ENOSPC;
    at += did;
    for (; n > 0 && (size_t)did >= v->iov_len; v++, n--) did -= (ssize_t)v->iov_len;
    if (n > 0) {
      v->iov_base = (char *)v->iov_base + did;
      v->iov_len -= (size_t)did;
    }
  }
  return 0;
}

static dx_error *cannot(const dx_journal *j, const char *do_what, int why)
{
  return DX_FAIL(IO, "cannot %s %s: %s", do_what, j->path, strerror(why));
}

/* The record at j->end, if it is whole: *bytes is malloc'd then, else NULL. */
static dx_error *read_record(dx_journal *j, int64_t file_size, uint32_t *kind, void **bytes,
                             size_t *size)
{
  unsigned char head[HEAD];
  int64_t got = read_at(j->fd, head, HEAD, j->end);
  dx_error *e = NULL;
  void *room;

  *bytes = NULL;
  if (got < 0) return cannot(j, "read", errno);
  if (got < HEAD || get(head + 12, 4) != (uint32_t)dx_hash(head, 12, (uint64_t)j->end))
    return NULL;
  *size = (size_t)get(head, 8);
  *kind = (uint32_t)get(head + 8, 4);
  if (*size > (uint64_t)(file_size - j->end - HEAD)) return NULL;
  room = malloc(*size + 1);
  if (!room) return DX_FAIL(INTERNAL, "%s: no memory for a record of %zu bytes", j->path, *size);
  got = read_at(j->fd, room, *size, j->end + HEAD);
  if (got == (int64_t)*size && get(head + 16, 8) == dx_hash(room, *size, (uint64_t)j->end)) {
    *bytes = room;
    return NULL;
  }
  if (got < 0) e = cannot(j, "read", errno);
  free(room);
  return e;
}

static dx_error *read_records(dx_journal *j, int64_t file_size, dx_journal_fn fn, void *ctx)
{
  for (;;) {
    uint32_t kind;
    void *bytes;
    size_t size;
    dx_error *e = read_record(j, file_size, &kind, &bytes, &size);

    if (e || !bytes) return e;
    if (fn) e = fn(ctx, kind, bytes, size);
    free(bytes);
    if (e) return e;
    j->end += HEAD + (int64_t)size;
  }
}

/* A new file has its magic written; one torn within it counts as new. */
static dx_error *begin(dx_journal *j)
{
  char found[MAGIC];
  const int64_t got = read_at(j->fd, found, MAGIC, 0);
  struct iovec v = {.iov_base = (void *)(uintptr_t)magic, .iov_len = MAGIC};
  int why;

  if (got < 0) return cannot(j, "read", errno);
  j->end = MAGIC;
  if (memcmp(found, magic, got < MAGIC ? (size_t)got : MAGIC - 1))
    return DX_FAIL(DATA, "%s is not a journal of diffx", j->path);
  if (got == MAGIC && found[MAGIC - 1] == magic[MAGIC - 1]) return NULL;
  if (got == MAGIC)
    return DX_FAIL(DATA, "%s is a journal of format %c; this diffx reads format %c", j->path,
                   found[MAGIC - 1], magic[MAGIC - 1]);
  why = write_at(j->fd, &v, 1, 0);
  return why ? cannot(j, "write", why) : NULL;
}

dx_error *dx_journal_open(const char *path, dx_journal_fn fn, void *ctx, dx_journal **out)
{
  dx_journal *j = calloc(1, sizeof *j);
  struct stat s;
  dx_error *e = NULL;

  if (!j) return DX_FAIL(INTERNAL, "out of memory");
  j->fd = j->old = -1;
  j->path = strdup(path);
  j->part = dx_file_part(path);
  if (!j->path || !j->part) {
    e = DX_FAIL(INTERNAL, "out of memory");
    goto out;
  }
  unlink(j->part); /* left by a program that was killed within a restart */
  j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (j->fd < 0) {
    e = cannot(j, "open", errno);
    goto out;
  }
  DX_TRY_GOTO(e, out, begin(j));
  if (fstat(j->fd, &s)) {
    e = cannot(j, "read", errno);
    goto out;
  }
  DX_TRY_GOTO(e, out, read_records(j, s.st_size, fn, ctx));
  if (s.st_size > j->end && ftruncate(j->fd, j->end)) e = cannot(j, "write", errno);
out:
  if (e) dx_journal_close(j);
  else *out = j;
  return e;
}

dx_error *dx_journal_append(dx_journal *j, uint32_t kind, const void *bytes, size_t size)
{
  unsigned char head[HEAD];
  struct iovec v[2] = {{.iov_base = head, .iov_len = HEAD},
                       {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size}};
  int why;

  if (j->broken) return DX_FAIL(IO, "cannot write %s: an earlier write failed", j->path);
  head_fill(head, j->end, kind, bytes, size);
  why = write_at(j->fd, v, size > 0 ? 2 : 1, j->end);
  if (why) {
    if (ftruncate(j->fd, j->end)) j->broken = true;
    return cannot(j, "write", why);
  }
  j->end += HEAD + (int64_t)size;
  return NULL;
}

dx_error *dx_journal_sync(dx_journal *j)
{
  return fdatasync(j->fd) ? cannot(j, "write", errno) : NULL;
}

static void give_up_restart(dx_journal *j)
{
  if (j->old < 0) return;
  close(j->fd);
  unlink(j->part);
  j->fd = j->old;
  j->end = j->old_end;
  j->old = -1;
}

dx_error *dx_journal_restart(dx_journal *j)
{
  struct iovec v = {.iov_base = (void *)(uintptr_t)magic, .iov_len = MAGIC};
  int fd, why;

  give_up_restart(j);
  fd = open(j->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return cannot(j, "write", errno);
  why = write_at(fd, &v, 1, 0);
  if (why) {
    close(fd);
    unlink(j->part);
    return cannot(j, "write", why);
  }
  j->old = j->fd;
  j->old_end = j->end;
  j->fd = fd;
  j->end = MAGIC;
  j->broken = false;
  return NULL;
}

dx_error *dx_journal_commit(dx_journal *j)
{
  if (j->old < 0) return NULL;
  if (j->broken) return DX_FAIL(IO, "cannot write %s: an earlier write failed", j->path);
  if (fsync(j->fd) || rename(j->part, j->path)) return cannot(j, "write", errno);
  close(j->old);
  j->old = -1;
  return dx_folder_sync(j->path);
}

void dx_journal_close(dx_journal *j)
{
  if (!j) return;
  give_up_restart(j);
  if (j->fd >= 0) close(j->fd);
  free(j->part);
  free(j->path);
  free(j);
}
