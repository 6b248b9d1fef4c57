/* SPDX-License-Identifier: Apache-2.0 */
/* io/h5.c - opening, closing and saving HDF5 files, and the words of their errors; see h5.h. */
#include "io/h5_inside.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INCREMENT = 1 << 20 }; /* bytes by which the image of a file grows */

/* --- errors -------------------------------------------------------------- */

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *ctx)
{
  dx_h5_cause *cause = ctx;

  if (n > 0) return 0;
  snprintf(cause->text, sizeof cause->text, "%s", e->desc && *e->desc ? e->desc : "no reason given");
  cause->from_system = strstr(cause->text, "errno = ") && !strstr(cause->text, "errno = 0");
  return 0;
}

/* To be called before any other call of HDF5: each clears the stack of the one before. */
void dx_h5_why(dx_h5_cause *cause)
{
  const char *number;

  *cause = (dx_h5_cause){.text = "no reason given"};
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, cause);
  H5Eclear2(H5E_DEFAULT);
  number = strstr(cause->text, "errno = ");
  if (cause->from_system && number) {
    const int why = atoi(number + strlen("errno = "));

    snprintf(cause->text, sizeof cause->text, "%s", strerror(why));
  } else if (strstr(cause->text, "bad version number")) {
    const size_t n = strlen(cause->text);

    snprintf(cause->text + n, sizeof cause->text - n, " (written by an HDF5 newer than %s?)",
             dx_h5_version());
  }
}

dx_error *dx_h5_failed(const dx_h5 *f, const char *do_what, const char *path)
{
  dx_h5_cause cause;

  dx_h5_why(&cause);
  if (!*f->path) return DX_FAIL(INTERNAL, "cannot %s %s: %s", do_what, path, cause.text);
  if (cause.from_system)
    return DX_FAIL(IO, "%s: cannot %s %s: %s", f->path, do_what, path, cause.text);
  return DX_FAIL(DATA, "%s: cannot %s %s: %s", f->path, do_what, path, cause.text);
}

/* HDF5 prints its error stack by itself until told otherwise. */
static void be_quiet(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

/* --- types --------------------------------------------------------------- */

hid_t dx_h5_memory_type(dx_h5_type type)
{
  hid_t text;

  switch (type) {
  case DX_H5_U8:  return H5T_NATIVE_UINT8;
  case DX_H5_I32: return H5T_NATIVE_INT32;
  case DX_H5_I64: return H5T_NATIVE_INT64;
  case DX_H5_U64: return H5T_NATIVE_UINT64;
  case DX_H5_F32: return H5T_NATIVE_FLOAT;
  case DX_H5_F64: return H5T_NATIVE_DOUBLE;
  case DX_H5_TEXT: break;
  }
  text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  H5Tset_cset(text, H5T_CSET_UTF8);
  return text;
}

void dx_h5_type_close(dx_h5_type type, hid_t id)
{
  if (type == DX_H5_TEXT) H5Tclose(id);
}

size_t dx_h5_type_size(dx_h5_type type)
{
  switch (type) {
  case DX_H5_U8:  return 1;
  case DX_H5_I32:
  case DX_H5_F32: return 4;
  case DX_H5_TEXT: return sizeof(char *);
  default: return 8;
  }
}

dx_error *dx_h5_count(const dx_h5_info *info, int first, int64_t n, int64_t *count)
{
  int64_t bytes;
  bool over = n < 0;

  for (int i = first; i < info->rank; i++)
    over |= info->dim[i] < 0 || __builtin_mul_overflow(n, info->dim[i], &n);
  over |= __builtin_mul_overflow(n, (int64_t)dx_h5_type_size(info->type), &bytes);
  if (over) return DX_FAIL(DATA, "the sizes of a dataset make no sense: more than 2^63 bytes");
  *count = n;
  return NULL;
}

/* --- opening and closing ------------------------------------------------- */

static dx_error *handle_new(const char *path, dx_h5 **out)
{
  dx_h5 *f = calloc(1, sizeof *f);

  if (f) f->path = strdup(path);
  if (!f || !f->path) {
    free(f);
    return DX_FAIL(INTERNAL, "out of memory");
  }
  f->file = H5I_INVALID_HID;
  *out = f;
  return NULL;
}

void dx_h5_close(dx_h5 *f)
{
  if (!f) return;
  if (f->file >= 0) H5Fclose(f->file);
  dx_file_abandon(f->out);
  free(f->path);
  free(f);
}

dx_error *dx_h5_create(dx_h5 **out)
{
  dx_h5 *f;
  hid_t access, creation;
  dx_error *e = NULL;

  be_quiet();
  DX_TRY(handle_new("", &f));
  access = H5Pcreate(H5P_FILE_ACCESS);
  creation = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_fapl_core(access, INCREMENT, 0);
  H5Pset_obj_track_times(creation, 0); /* of the root group */
  /* the name is never used: nothing goes to a disk by HDF5's own hand */
  f->file = H5Fcreate("image", H5F_ACC_TRUNC, creation, access);
  if (f->file < 0) e = dx_h5_failed(f, "begin", "an HDF5 file");
  H5Pclose(access);
  H5Pclose(creation);
  if (e) dx_h5_close(f);
  else *out = f;
  return e;
}

/* The bytes of the file as they stand in the driver's memory, without a copy. */
static dx_error *image_of(dx_h5 *f, void **bytes, size_t *size)
{
  hid_t access;
  void **place = NULL;
  ssize_t n;
  dx_error *e = NULL;

  if (H5Fflush(f->file, H5F_SCOPE_GLOBAL) < 0) return dx_h5_failed(f, "finish", "an HDF5 file");
  n = H5Fget_file_image(f->file, NULL, 0); /* the size alone */
  if (n < 0) return dx_h5_failed(f, "finish", "an HDF5 file");
  access = H5Fget_access_plist(f->file);
  if (H5Fget_vfd_handle(f->file, access, (void **)&place) < 0 || !place)
    e = dx_h5_failed(f, "finish", "an HDF5 file");
  H5Pclose(access);
  if (e) return e;
  *bytes = *place;
  *size = (size_t)n;
  return NULL;
}

/* Where the data of a contiguous dataset stand in the image; an empty one stands nowhere. */
static dx_error *place_of(dx_h5 *f, const char *path, size_t *at, size_t *size)
{
  const hid_t set = H5Dopen2(f->file, path, H5P_DEFAULT);
  dx_error *e = NULL;

  if (set < 0) return dx_h5_failed(f, "find", path);
  *size = (size_t)H5Dget_storage_size(set);
  if (*size > 0) {
    const haddr_t offset = H5Dget_offset(set);

    if (offset == HADDR_UNDEF) e = dx_h5_failed(f, "find the data of", path);
    *at = (size_t)offset;
  }
  H5Dclose(set);
  return e;
}

dx_error *dx_h5_send(dx_h5 *f, const char *file, const char *path)
{
  void *bytes = NULL;
  size_t all = 0, at = 0, size = 0;

  assert(f->sent_count < DX_H5_SENT);
  DX_TRY(dx_error_in(place_of(f, path, &at, &size), "%s", file));
  if (size == 0) return NULL;
  DX_TRY(dx_error_in(image_of(f, &bytes, &all), "%s", file));
  assert(at + size <= all);
  if (!f->out) DX_TRY(dx_file_begin(file, &f->out));
  DX_TRY(dx_file_put(f->out, (int64_t)at, (char *)bytes + at, size));
  dx_memory_give_back((char *)bytes + at, size);
  f->sent[f->sent_count].at = at;
  f->sent[f->sent_count++].size = size;
  return NULL;
}

/* What stands in the image before, between and behind the data that were sent. */
static dx_error *put_rest(dx_h5 *f, const char *bytes, size_t size)
{
  for (size_t at = 0; at < size;) {
    size_t next = size, go_on = size;

    for (int i = 0; i < f->sent_count; i++)
      if (f->sent[i].at >= at && f->sent[i].at < next) next = f->sent[i].at, go_on = next + f->sent[i].size;
    DX_TRY(dx_file_put(f->out, (int64_t)at, bytes + at, next - at));
    at = go_on;
  }
  return NULL;
}

dx_error *dx_h5_save(dx_h5 *f, const char *path)
{
  void *bytes = NULL;
  size_t size = 0;
  dx_file *out = f->out;

  assert(out || f->sent_count == 0); /* what was sent is not in the image any more */
  DX_TRY(dx_error_in(image_of(f, &bytes, &size), "%s", path));
  if (!out) return dx_file_write_sealed(path, bytes, size);
  DX_TRY(put_rest(f, bytes, size));
  DX_TRY(dx_file_seal(out));
  f->out = NULL;
  return dx_file_finish(out);
}

static uint64_t number_at(const unsigned char *p, int bytes)
{
  uint64_t v = 0;

  for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
  return v;
}

/* Where the superblock at `at` says that the file ends; 0 where it does not say. The layout
   is that of the HDF5 file format specification, versions 0 to 3. */
static uint64_t end_of(int fd, off_t at)
{
  unsigned char b[64] = {0};
  int version, width, place;
  uint64_t end;

  if (pread(fd, b, sizeof b, at) < 24) return 0;
  version = b[8];
  width = version < 2 ? b[13] : b[9];
  place = version == 0 ? 24 : version == 1 ? 28 : 12; /* of the base address */
  if (version > 3 || (width != 4 && width != 8)) return 0;
  end = number_at(b + place + 2 * width, width);
  return end == UINT64_MAX ? 0 : end; /* counted from the first byte of the file */
}

/* What is wrong with the file as a file, before HDF5 looks at it. */
static dx_error *look_at_bytes(int fd, const char *path, int64_t *size)
{
  static const unsigned char signature[8] = "\211HDF\r\n\032\n";
  unsigned char found[8];
  struct stat s;
  off_t at = 0;
  uint64_t end;

  if (fstat(fd, &s)) return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  if (S_ISDIR(s.st_mode)) return DX_FAIL(IO, "%s is a folder, not an HDF5 file", path);
  if (!S_ISREG(s.st_mode)) return DX_FAIL(IO, "%s is not a plain file", path);
  if (s.st_size == 0) return DX_FAIL(DATA, "%s is empty, not an HDF5 file", path);
  for (;; at = at ? 2 * at : 512) { /* after a user block: at 512, 1024, ... */
    if (at >= s.st_size) return DX_FAIL(DATA, "%s is not an HDF5 file", path);
    if (pread(fd, found, 8, at) == 8 && !memcmp(found, signature, 8)) break;
  }
  end = end_of(fd, at);
  if (end > (uint64_t)s.st_size || s.st_size < at + 96)
    return DX_FAIL(DATA, "%s is truncated: %lld of %llu bytes are there", path,
                   (long long)s.st_size, (unsigned long long)(end ? end : 96));
  *size = s.st_size;
  return NULL;
}

static dx_error *look_at_file(const char *path, int64_t *size)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
  dx_error *e;

  if (fd < 0) return DX_FAIL(IO, "cannot read %s: %s", path, strerror(errno));
  e = look_at_bytes(fd, path, size);
  close(fd);
  return e;
}

static dx_error *open_by(const char *path, hid_t access, dx_h5 **out)
{
  dx_h5 *f;

  DX_TRY(handle_new(path, &f));
  f->file = H5Fopen(path, H5F_ACC_RDONLY, access);
  if (f->file < 0) {
    dx_h5_cause cause;

    dx_h5_why(&cause);
    dx_h5_close(f);
    return DX_FAIL(DATA, "%s is a damaged HDF5 file: %s", path, cause.text);
  }
  *out = f;
  return NULL;
}

/* Our files are replaced whole and never written in place, and on many cluster file systems
   locks fail: so none are asked for. */
static void no_locks(hid_t access)
{
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 12, 0))
  H5Pset_file_locking(access, 0, 1);
#else
  (void)access;
#endif
}

static dx_error *open_alone(const char *path, dx_h5 **out)
{
  hid_t access;
  dx_error *e;

  access = H5Pcreate(H5P_FILE_ACCESS);
  no_locks(access);
  e = open_by(path, access, out);
  H5Pclose(access);
  return e;
}

dx_error *dx_h5_open(const char *path, dx_h5 **out)
{
  int64_t size;

  be_quiet();
  DX_TRY(look_at_file(path, &size));
  return open_alone(path, out);
}

dx_error *dx_h5_open_sealed(const char *path, dx_h5 **out)
{
  int64_t size;

  be_quiet();
  DX_TRY(look_at_file(path, &size));
  DX_TRY(dx_file_check_seal(path));
  return open_alone(path, out);
}

/* Every rank sees the file, and with the same length: else H5Fopen, which is collective,
   might wait for ever, and ranks would read different bytes. */
static dx_error *look_together(const dx_comm *c, const char *path)
{
  int64_t size = 0, longest;
  dx_error *e = dx_comm_agree(c, look_at_file(path, &size));

  if (e) return e;
  longest = dx_comm_max_i64(c, size);
  if (size != longest)
    e = DX_FAIL(IO, "%s has %lld bytes here and %lld elsewhere: not one shared file", path,
                (long long)size, (long long)longest);
  return dx_comm_agree(c, e);
}

dx_error *dx_h5_open_parallel(const dx_comm *c, const char *path, dx_h5 **out)
{
  dx_h5 *f = NULL;
  hid_t access;
  dx_error *e;

  if (dx_comm_size(c) == 1) return dx_h5_open(path, out);
  be_quiet();
  DX_TRY(look_together(c, path));
  access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL); /* c spans it */
  e = dx_comm_agree(c, open_by(path, access, &f));
  H5Pclose(access);
  if (e) dx_h5_close(f);
  else *out = f;
  return e;
}

/* H5_VERS_INFO is "HDF5 library version: 1.10.8" */
const char *dx_h5_version(void) { return strrchr(H5_VERS_INFO, ' ') + 1; }
