/* SPDX-License-Identifier: Apache-2.0 */
/* io/file.h - plain files: whole reads, atomic writes, folders, the run's lock. All Local. */
#ifndef DX_IO_FILE_H
#define DX_IO_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* The whole file as a NUL-ended block (malloc'd, owned by the caller); refused above limit bytes. */
dx_error *dx_file_read(const char *path, size_t limit, char **text, size_t *size) DX_MUST_CHECK;
/* All bytes or an error: temporary name beside it, write, fsync, rename, fsync of the folder. */
dx_error *dx_file_write_atomic(const char *path, const void *bytes, size_t size) DX_MUST_CHECK;
/* The same with n stretches of bytes that stand one after the other in the file. */
typedef struct { const void *bytes; size_t size; } dx_bytes;
dx_error *dx_file_write_parts(const char *path, const dx_bytes *part, int n) DX_MUST_CHECK;
/* The same, and behind the bytes a seal of 16 more: a mark and the hash of them all. HDF5 does not
   look behind the end of its own, so an HDF5 file stays one. */
dx_error *dx_file_write_sealed(const char *path, const void *bytes, size_t size) DX_MUST_CHECK;
/* Is the file, to the bit, what dx_file_write_sealed wrote? Else DX_E_DATA. */
dx_error *dx_file_check_seal(const char *path) DX_MUST_CHECK;

/* The same piece by piece: the temporary file is ours from begin on, and its pieces, each at its place, may come in any
   order. finish gives it its name and takes `f`, whatever comes of it; abandon, where that is not to be, leaves no file. */
typedef struct dx_file dx_file;
dx_error *dx_file_begin(const char *path, dx_file **out) DX_MUST_CHECK;
dx_error *dx_file_put(dx_file *f, int64_t at, const void *bytes, size_t size) DX_MUST_CHECK;
dx_error *dx_file_seal(dx_file *f) DX_MUST_CHECK; /* behind all that is there, which is read for it */
dx_error *dx_file_finish(dx_file *f) DX_MUST_CHECK;
void dx_file_abandon(dx_file *f); /* NULL is fine */

bool dx_file_exists(const char *path);
bool dx_folder_has(const char *folder, const char *name);
/* Make a folder and those above it; fine if there. The error names the folder that failed. */
dx_error *dx_folder_make(const char *path) DX_MUST_CHECK;
/* A folder that is written whole or not at all: makes "path.part" to write in, whose name (of room bytes) part gets.
   A part that is there already is used again.  Then: */
dx_error *dx_folder_begin(const char *path, size_t room, char *part) DX_MUST_CHECK;
/* Give the whole folder `part` its name `path`, where nothing or an empty folder may stand. */
dx_error *dx_folder_publish(const char *part, const char *path) DX_MUST_CHECK;
/* Free bytes for us on the file system of path; -1 where it cannot be told. */
int64_t dx_folder_free_bytes(const char *path);

/* The lock of a run folder: RUN/lock tells host, process, process start, job id and since
   when. Taken: DX_E_IO with who holds it. A stale one is taken over: same host and no such
   process any more (or started anew), the same batch job before it was requeued, or not
   touched for 10 minutes and out of our sight; *notice is then a malloc'd sentence about it,
   else NULL. */
typedef struct dx_lock dx_lock;
dx_error *dx_lock_take(const char *folder, dx_lock **out, char **notice) DX_MUST_CHECK;
/* At least once a minute while the run goes on. false: the lock is no longer ours (we stood
   still for more than 10 minutes and another job took the folder): write nothing any more. */
bool dx_lock_touch(dx_lock *l);
void dx_lock_release(dx_lock *l); /* removes the file if it is ours; NULL is fine */
/* Who holds a folder's lock, without touching it: words such as "process 12 on host since ...",
   with the reason where it is stale, or "nobody". */
typedef enum { DX_LOCK_FREE, DX_LOCK_STALE, DX_LOCK_HELD } dx_lock_state;
dx_lock_state dx_lock_look(const char *folder, char *words, size_t room);

/* An append-only journal of records, each with length, kind and checksum. Reading stops
   at the first torn or damaged record; writing goes on from there. */
typedef struct dx_journal dx_journal;
typedef dx_error *(*dx_journal_fn)(void *ctx, uint32_t kind, const void *bytes, size_t size);
/* Open for appending; gives every good record to fn first (fn NULL: skip), cuts the rest. */
dx_error *dx_journal_open(const char *path, dx_journal_fn fn, void *ctx, dx_journal **out) DX_MUST_CHECK;
dx_error *dx_journal_append(dx_journal *j, uint32_t kind, const void *bytes, size_t size) DX_MUST_CHECK;
dx_error *dx_journal_sync(dx_journal *j) DX_MUST_CHECK;  /* to the disk */
/* Start again with an empty file (the caller appends what it keeps). Atomic: until
   dx_journal_commit the old content stands, and closing without it gives the new one up. */
dx_error *dx_journal_restart(dx_journal *j) DX_MUST_CHECK;
dx_error *dx_journal_commit(dx_journal *j) DX_MUST_CHECK;
void dx_journal_close(dx_journal *j); /* NULL is fine */
#endif
