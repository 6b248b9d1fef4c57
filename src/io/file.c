/* SPDX-License-Identifier: Apache-2.0 */
/* io/file.c - whole files and folders; see file.h. */
#include "io/file.h"

#include "base/hash.h"
#include "io/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PIECE = 1 << 26 }; /* bytes in one call of write: Linux takes less than 2 GiB */
enum { BLOCK = 1 << 20, MARK = 8, SEAL = 16 }; /* of a seal */
static const char mark[MARK + 1] = "diffxsum";

/* All bytes, or errno. */
static int write_at(int fd, off_t at, const unsigned char *p, size_t size)
{
  while (size > 0) {
    const ssize_t n = pwrite(fd, p, size < PIECE ? size : PIECE, at);

    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return ENOSPC;
    p += n;
    at += n;
    size -= (size_t)n;
  }
  return 0;
}

static dx_error *read_into(int fd, const char *path, size_t limit, char **text, size_t *size)
{
  size_t room = 1 << 16, used = 0;
  char *block = NULL;

  for (;;) {
    char *more = realloc(block, room + 1);
    ssize_t n;

    if (!more) {
      free(block);
      return DX_FAIL(INTERNAL, "%s: no memory for %zu bytes", path, room);
    }
    block = more;
    n = read(fd, block + used, room - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int why = errno;

      free(block);
      return DX_FAIL(IO, "cannot read %s: %s", path, strerror(why));
    }
    used += (size_t)n;
    if (used > limit) {
      free(block);
      return DX_FAIL(IO, "%s is larger than the %zu bytes allowed for such a file", path, limit);
    }
    if (n == 0) break;
    if (used == room) room *= 2;
  }
  block[used] = '\0';
  *text = block;
  *size = used;
  return NULL;
}

dx_error *dx_file_read(const char *path, size_t limit, char **text, size_t *size)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  dx_error *e;

  if (fd < 0) return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  e = read_into(fd, path, limit, text, size);
  close(fd);
  return e;
}

dx_error *dx_folder_sync(const char *path)
{
  char *folder = strdup(path), *slash;
  int fd, why = 0;

  if (!folder) return DX_FAIL(INTERNAL, "out of memory");
  slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = '\0';
  fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0) {
    if (errno == EACCES) return NULL; /* write but no read permission: nothing to be done */
    return DX_FAIL(IO, "cannot write %s: its folder: %s", path, strerror(errno));
  }
  /* EINVAL: a file system without sync of folders */
  if (fsync(fd) && errno != EINVAL) why = errno;
  close(fd);
  return why ? DX_FAIL(IO, "cannot write %s: its folder: %s", path, strerror(why)) : NULL;
}

char *dx_file_part(const char *path)
{
  char *part = malloc(strlen(path) + sizeof ".part");

  if (part) sprintf(part, "%s.part", path);
  return part;
}

/* Is the file that we opened still the one of that name? errno where it cannot be told. */
static int still_there(int fd, const char *part, bool *same)
{
  struct stat ours, there;

  *same = false;
  if (fstat(fd, &ours)) return errno;
  if (stat(part, &there)) return errno == ENOENT ? 0 : errno;
  *same = ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
  return 0;
}

/* Open the temporary file, empty and ours alone. Its name is fixed, so what a killed
   program left is used up; the lock keeps a second writer of the same path out. */
static int open_part(const char *part, int *fd)
{
  bool same = false;

  for (;;) {
    *fd = open(part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (*fd < 0) return errno;
    if (flock(*fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
      close(*fd);
      return EBUSY;
    }
    /* between open and lock the other writer may have renamed what we opened */
    int why = still_there(*fd, part, &same);
    if (same && ftruncate(*fd, 0)) why = errno;
    if (same && !why) return 0;
    close(*fd);
    if (why) return why;
  }
}

struct dx_file {
  char *path, *part;
  int fd;
};

static void file_free(dx_file *f)
{
  if (f) {
    free(f->path);
    free(f->part);
  }
  free(f);
}

static dx_error *cannot_write(const dx_file *f, int why)
{
  if (why == EBUSY) return DX_FAIL(IO, "cannot write %s: another process is writing it", f->path);
  return DX_FAIL(IO, "cannot write %s: %s", f->path, strerror(why));
}

dx_error *dx_file_begin(const char *path, dx_file **out)
{
  dx_file *const f = calloc(1, sizeof *f);
  dx_error *e = NULL;
  int why;

  if (f) f->path = strdup(path), f->part = dx_file_part(path);
  if (!f || !f->path || !f->part) e = DX_FAIL(INTERNAL, "out of memory");
  else if ((why = open_part(f->part, &f->fd))) e = cannot_write(f, why);
  if (e) file_free(f);
  else *out = f;
  return e;
}

dx_error *dx_file_put(dx_file *f, int64_t at, const void *bytes, size_t size)
{
  const int why = write_at(f->fd, at, bytes, size);

  return why ? cannot_write(f, why) : NULL;
}

void dx_file_abandon(dx_file *f)
{
  if (!f) return;
  unlink(f->part);
  close(f->fd);
  file_free(f);
}

dx_error *dx_file_finish(dx_file *f)
{
  const int why = fsync(f->fd) || rename(f->part, f->path) ? errno : 0;
  dx_error *e;

  if (why) {
    e = cannot_write(f, why);
    dx_file_abandon(f);
    return e;
  }
  close(f->fd); /* after the rename: the lock holds until the name is free */
  e = dx_folder_sync(f->path);
  file_free(f);
  return e;
}

dx_error *dx_file_write_parts(const char *path, const dx_bytes *s, int n)
{
  dx_file *f;
  dx_error *e = NULL;
  int64_t at = 0;

  DX_TRY(dx_file_begin(path, &f));
  for (int i = 0; i < n && !e; i++) {
    e = dx_file_put(f, at, s[i].bytes, s[i].size);
    at += (int64_t)s[i].size;
  }
  if (!e) return dx_file_finish(f);
  dx_file_abandon(f);
  return e;
}

dx_error *dx_file_write_atomic(const char *path, const void *bytes, size_t size)
{
  return dx_file_write_parts(path, &(dx_bytes){bytes, size}, 1);
}

/* The hash of a file, block after block, each seeded by those before. */
static uint64_t add_to_hash(uint64_t hash, const unsigned char *p, size_t size)
{
  for (size_t at = 0; at < size; at += BLOCK) hash = dx_hash(p + at, size - at < BLOCK ? size - at : BLOCK, hash);
  return hash;
}

static void make_seal(unsigned char seal[SEAL], uint64_t hash)
{
  memcpy(seal, mark, MARK);
  for (int i = 0; i < SEAL - MARK; i++) seal[MARK + i] = (unsigned char)(hash >> 8 * i);
}

dx_error *dx_file_write_sealed(const char *path, const void *bytes, size_t size)
{
  unsigned char seal[SEAL];
  const dx_bytes s[] = {{bytes, size}, {seal, SEAL}};

  make_seal(seal, add_to_hash(0, bytes, size));
  return dx_file_write_parts(path, s, 2);
}

/* All bytes of that place; false with errno. */
static bool read_whole(int fd, unsigned char *p, size_t size, off_t at)
{
  while (size > 0) {
    const ssize_t n = pread(fd, p, size, at);

    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO; /* it was cut while we read */
    if (n <= 0) return false;
    p += n;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

/* The hash of the first `size` bytes. */
static dx_error *hash_of(int fd, const char *path, off_t size, uint64_t *hash)
{
  unsigned char *const block = malloc(BLOCK);

  if (!block) return DX_FAIL(INTERNAL, "out of memory");
  *hash = 0;
  for (off_t at = 0; at < size; at += BLOCK) {
    const size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;

    if (!read_whole(fd, block, n, at)) {
      free(block);
      return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
    }
    *hash = add_to_hash(*hash, block, n);
  }
  free(block);
  return NULL;
}

dx_error *dx_file_seal(dx_file *f)
{
  unsigned char seal[SEAL];
  struct stat s;
  uint64_t hash;

  if (fstat(f->fd, &s)) return DX_FAIL(IO, "cannot read %s: %s", f->part, strerror(errno));
  DX_TRY(hash_of(f->fd, f->part, s.st_size, &hash));
  make_seal(seal, hash);
  return dx_file_put(f, s.st_size, seal, SEAL);
}

static dx_error *check_seal(int fd, const char *path)
{
  unsigned char seal[SEAL], found[SEAL];
  uint64_t hash;
  struct stat s;

  if (fstat(fd, &s)) return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  DX_TRY(hash_of(fd, path, s.st_size - SEAL, &hash));
  make_seal(seal, hash);
  if (s.st_size < SEAL || !read_whole(fd, found, SEAL, s.st_size - SEAL) || memcmp(found, seal, MARK))
    return DX_FAIL(DATA, "%s has no seal at its end: it was cut short, changed, or not written by diffx", path);
  if (memcmp(found, seal, SEAL)) return DX_FAIL(DATA, "%s is damaged: its bytes are not those that were written", path);
  return NULL;
}

dx_error *dx_file_check_seal(const char *path)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  dx_error *e;

  if (fd < 0) return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  e = check_seal(fd, path);
  close(fd);
  return e;
}

bool dx_file_exists(const char *path)
{
  struct stat s;

  return stat(path, &s) == 0;
}

bool dx_folder_has(const char *folder, const char *name)
{
  char path[4096];

  snprintf(path, sizeof path, "%s/%s", folder, name);
  return dx_file_exists(path);
}

/* One folder; fine if it is there. */
static dx_error *make_one(const char *path)
{
  struct stat s;
  int why;

  if (mkdir(path, 0777) == 0) return NULL;
  why = errno;
  if (stat(path, &s) == 0) {
    if (S_ISDIR(s.st_mode)) return NULL;
    return DX_FAIL(IO, "cannot make the folder %s: a file of that name is in the way", path);
  }
  return DX_FAIL(IO, "cannot make the folder %s: %s", path, strerror(why));
}

dx_error *dx_folder_make(const char *path)
{
  char *part = strdup(path);
  dx_error *e = NULL;

  if (!part) return DX_FAIL(INTERNAL, "out of memory");
  for (char *p = part + 1; *part && *p && !e; p++) {
    if (*p != '/') continue;
    *p = '\0';
    e = make_one(part);
    *p = '/';
  }
  if (!e) e = make_one(part);
  free(part);
  return e;
}

dx_error *dx_folder_begin(const char *path, size_t room, char *part)
{
  size_t n = strlen(path);

  while (n > 1 && path[n - 1] == '/') n--;
  if (n + sizeof ".part" > room) return DX_FAIL(USAGE, "%s: the name is too long", path);
  snprintf(part, room, "%.*s.part", (int)n, path);
  return dx_folder_make(part);
}

dx_error *dx_folder_publish(const char *part, const char *path)
{
  if (rename(part, path) == 0) return dx_folder_sync(part);
  if (errno == ENOTEMPTY || errno == EEXIST) return DX_FAIL(IO, "the folder %s stands there and is not empty: it is not overwritten", path);
  if (errno == ENOTDIR) return DX_FAIL(IO, "%s stands there and is a file: it is not overwritten", path);
  return DX_FAIL(IO, "cannot write %s: %s", path, strerror(errno));
}

int64_t dx_folder_free_bytes(const char *path)
{
  struct statvfs s;
  int64_t bytes;

  if (statvfs(path, &s)) return -1;
  if (__builtin_mul_overflow(s.f_bavail, s.f_frsize, &bytes)) return -1;
  return bytes;
}
