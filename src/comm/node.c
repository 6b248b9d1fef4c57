/* SPDX-License-Identifier: Apache-2.0 */
/* comm/node.c - memory that the ranks of a node share; see comm.h.

   It is a file without a name (memfd), which the first rank makes and the others open by way of /proc. MPI's own way,
   MPI_Win_allocate_shared, keeps its file in /dev/shm, of which a container has 64 MiB by default; where that is too little,
   Open MPI 4.1 leaves all ranks but the first waiting for ever, and a job that is killed leaves the file behind.
   Its pages come when they are first touched, each beside the rank that does so, and most systems (shmem_enabled: never) then
   give small ones; but asked to collapse those that are there, Linux makes huge ones of them since 6.1, whatever it is set to.
   A system that grants no memory beyond what it has (vm.overcommit_memory=2) ends a rank there, where memory of its own would
   have been refused in words. */
#define _GNU_SOURCE /* memfd_create */
#include "comm/comm.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* Linux's numbers of madvise, which a C library may not know yet and an older Linux refuses. */
enum { POPULATE_WRITE = 23, COLLAPSE = 25 };

/* How the first rank tells which file it is: a number of a process may mean another one to a rank in a container of its own. */
typedef struct {
  long process, file; /* file -1: none */
  dev_t device;
  ino_t inode;
} door;

/* A longer file would be a signal's end (SIGXFSZ). */
static bool may_be_as_long(size_t bytes)
{
  struct rlimit most;

  return getrlimit(RLIMIT_FSIZE, &most) == 0 && (most.rlim_cur == RLIM_INFINITY || bytes <= most.rlim_cur);
}

static int make_file(size_t bytes, door *d)
{
#ifdef MFD_CLOEXEC
  struct stat s;
  const int file = may_be_as_long(bytes) ? memfd_create("diffx", MFD_CLOEXEC) : -1;

  if (file >= 0 && ftruncate(file, (off_t)bytes) == 0 && fstat(file, &s) == 0) {
    *d = (door){(long)getpid(), file, s.st_dev, s.st_ino};
    return file;
  }
  if (file >= 0) close(file);
#else
  (void)bytes;
#endif
  *d = (door){.file = -1};
  return -1;
}

static bool is_behind(const door *d, const struct stat *s) { return s->st_dev == d->device && s->st_ino == d->inode; }

/* Looks before it opens: the opening of a device is heard by it. */
static int open_file(const door *d)
{
  char path[64];
  struct stat s;

  if (d->file < 0) return -1;
  snprintf(path, sizeof path, "/proc/%ld/fd/%ld", d->process, d->file);
  if (stat(path, &s) || !is_behind(d, &s)) return -1;
  const int file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file >= 0 && fstat(file, &s) == 0 && is_behind(d, &s)) return file;
  if (file >= 0) close(file);
  return -1;
}

static uintptr_t up_to_huge(uintptr_t at) { return (at + DX_HUGE_PAGE - 1) / DX_HUGE_PAGE * DX_HUGE_PAGE; }

/* A free place that begins with a huge page, or NULL: any. It is but a wish: another thread may take it. */
static void *place_for(size_t bytes)
{
  void *const room = mmap(NULL, bytes + DX_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (room == MAP_FAILED) return NULL;
  munmap(room, bytes + DX_HUGE_PAGE);
  return (void *)up_to_huge((uintptr_t)room);
}

static void *map(int file, size_t bytes)
{
  void *const p = file < 0 ? MAP_FAILED : mmap(place_for(bytes), bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

  if (p == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE /* advice, which systems follow where shmem_enabled is advise */
  (void)madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return p;
}

void dx_comm_node_memory_take(void *p, size_t bytes)
{
#ifdef __linux__
  const uintptr_t first = up_to_huge((uintptr_t)p), end = ((uintptr_t)p + bytes) / DX_HUGE_PAGE * DX_HUGE_PAGE;

  for (uintptr_t at = first; at < end; at += DX_HUGE_PAGE) /* only what has a page collapses */
    if (madvise((void *)at, (size_t)sysconf(_SC_PAGESIZE), POPULATE_WRITE)) return;
  if (first < end) (void)madvise((void *)first, end - first, COLLAPSE);
#else
  (void)p;
  (void)bytes;
#endif
}

void *dx_comm_node_memory(const dx_comm *c, size_t bytes)
{
  door d = {.file = -1};
  int file = -1;

  if (dx_comm_node_size(c) == 1 || bytes == 0) return NULL;
  if (dx_comm_node_rank(c) == 0) file = make_file(bytes, &d);
  dx_comm_node_broadcast(c, &d, sizeof d);
  if (dx_comm_node_rank(c)) file = open_file(&d);
  void *const mine = map(file, bytes);
  const bool all = dx_comm_node_all(c, mine != NULL); /* and nobody needs the door any more */
  if (file >= 0) close(file);
  if (all) return mine;
  dx_comm_node_memory_free(mine, bytes);
  return NULL;
}

void dx_comm_node_memory_free(void *p, size_t bytes)
{
  if (p) munmap(p, bytes);
}

void dx_comm_node_memory_rest(void *p, size_t bytes)
{
#ifdef MADV_REMOVE
  if (bytes) (void)madvise(p, bytes, MADV_REMOVE);
#else
  (void)p;
  (void)bytes;
#endif
}
