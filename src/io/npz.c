/* SPDX-License-Identifier: Apache-2.0 */
/* io/npz.c - see npz.h. A zip file is one local header and its content for each member, then a directory of them, then an
   end that tells where the directory is. Members are stored, not packed; all sizes are those of zip64, in 8 bytes, so
   that there is one layout whatever the size (PKWARE's APPNOTE 6.3, 4.3 and 4.5.3). npy is its format 1.0. */
#include "io/npz.h"

#include "io/file.h"

#ifdef DX_ZLIB
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { NPY = 256, LOCAL = 128, DIRECTORY = 1024, NEW = 45, ELSEWHERE = -1 };

/* Bytes under construction, little-endian. */
typedef struct { unsigned char *to; size_t used; } writer;

static void put(writer *w, int bytes, uint64_t v)
{
  for (int i = 0; i < bytes; i++) w->to[w->used++] = (unsigned char)(v >> 8 * i);
}

static void put_text(writer *w, const char *text)
{
  memcpy(w->to + w->used, text, strlen(text));
  w->used += strlen(text);
}

/* A member: its name, the head of the npy file, and all that the directory repeats. */
typedef struct {
  char name[64];
  unsigned char head[NPY], local[LOCAL];
  size_t head_size, local_size, data_size;
  uint64_t offset;
  uint32_t crc;
} member;

static void make_head(const dx_npy *a, member *m)
{
  char text[NPY];
  writer w = {.to = m->head};
  int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", a->type);

  m->data_size = (size_t)(a->type[2] - '0');
  for (int i = 0; i < a->rank; i++) {
    n += snprintf(text + n, sizeof text - (size_t)n, "%" PRId64 ",%s", a->dim[i], i + 1 < a->rank ? " " : "");
    m->data_size *= (size_t)a->dim[i];
  }
  n += snprintf(text + n, sizeof text - (size_t)n, "), }");
  const int padded = (10 + n + 1 + 63) / 64 * 64 - 10; /* the data begin at a multiple of 64 */
  put_text(&w, "\x93NUMPY\x01");
  put(&w, 1, 0);
  put(&w, 2, (uint64_t)padded);
  put_text(&w, text);
  for (; n < padded - 1; n++) put(&w, 1, ' ');
  put(&w, 1, '\n');
  m->head_size = w.used;
}

/* What the local header and the directory share, from the version on. */
static void put_facts(writer *w, const member *m)
{
  put(w, 2, NEW);
  put(w, 4, 0);            /* flags, stored */
  put(w, 4, 0x00210000);   /* at midnight on the first day of 1980: equal arrays are equal bytes */
  put(w, 4, m->crc);
  put(w, 8, (uint64_t)ELSEWHERE); /* both sizes: in the extra field */
  put(w, 2, strlen(m->name));
}

static void put_sizes(writer *w, const member *m)
{
  put(w, 8, m->head_size + m->data_size);
  put(w, 8, m->head_size + m->data_size);
}

static void make_local(member *m)
{
  writer w = {.to = m->local};

  put(&w, 4, 0x04034b50);
  put_facts(&w, m);
  put(&w, 2, 20);
  put_text(&w, m->name);
  put(&w, 2, 1);
  put(&w, 2, 16);
  put_sizes(&w, m);
  m->local_size = w.used;
}

static void put_entry(writer *w, const member *m)
{
  put(w, 4, 0x02014b50);
  put(w, 2, 3 << 8 | NEW); /* made under Unix */
  put_facts(w, m);
  put(w, 2, 28);
  put(w, 6, 0);            /* no comment, the first disk, no attributes inside */
  put(w, 4, 0100644u << 16);
  put(w, 4, (uint64_t)ELSEWHERE);
  put_text(w, m->name);
  put(w, 2, 1);
  put(w, 2, 24);
  put_sizes(w, m);
  put(w, 8, m->offset);
}

static void put_end(writer *w, int n, uint64_t at)
{
  const uint64_t size = w->used;

  put(w, 4, 0x06064b50);
  put(w, 8, 44);
  put(w, 2, NEW);
  put(w, 2, NEW);
  put(w, 8, 0);
  put(w, 8, (uint64_t)n);
  put(w, 8, (uint64_t)n);
  put(w, 8, size);
  put(w, 8, at);
  put(w, 4, 0x07064b50);
  put(w, 4, 0);
  put(w, 8, at + size);
  put(w, 4, 1);
  put(w, 4, 0x06054b50);
  put(w, 4, 0);
  put(w, 4, (uint64_t)ELSEWHERE); /* counts, size and place: above */
  put(w, 8, (uint64_t)ELSEWHERE);
  put(w, 2, 0);
}

dx_error *dx_npz_save(const char *path, const dx_npy *a, int n)
{
  unsigned char directory[DIRECTORY];
  member m[DX_NPZ_MOST];
  dx_bytes part[3 * DX_NPZ_MOST + 1];
  writer w = {.to = directory};
  uint64_t at = 0;

  assert(n <= DX_NPZ_MOST);
  for (int i = 0; i < n; i++) {
    m[i] = (member){.offset = at};
    snprintf(m[i].name, sizeof m[i].name, "%s.npy", a[i].name);
    make_head(&a[i], &m[i]);
    m[i].crc = (uint32_t)crc32_z(crc32_z(0, m[i].head, m[i].head_size), a[i].data, m[i].data_size);
    make_local(&m[i]);
    part[3 * i] = (dx_bytes){m[i].local, m[i].local_size};
    part[3 * i + 1] = (dx_bytes){m[i].head, m[i].head_size};
    part[3 * i + 2] = (dx_bytes){a[i].data, m[i].data_size};
    at += m[i].local_size + m[i].head_size + m[i].data_size;
  }
  for (int i = 0; i < n; i++) put_entry(&w, &m[i]);
  put_end(&w, n, at);
  part[3 * n] = (dx_bytes){directory, w.used};
  return dx_file_write_parts(path, part, 3 * n + 1);
}

bool dx_npz_can_save(void) { return true; }
#else
dx_error *dx_npz_save(const char *path, const dx_npy *a, int n)
{
  (void)a;
  (void)n;
  return DX_FAIL(IO, "cannot write %s: this diffx was built without zlib", path);
}

bool dx_npz_can_save(void) { return false; }
#endif
