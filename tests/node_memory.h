/* SPDX-License-Identifier: Apache-2.0 */
/* tests/node_memory.h - can this system share memory by way of a file without a name? Asked of the system, not of comm/node.c. */
#ifndef DX_TESTS_NODE_MEMORY_H
#define DX_TESTS_NODE_MEMORY_H
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static bool system_shares_memory(void)
{
  bool can = false;
#ifdef MFD_CLOEXEC
  char path[64];
  const int file = memfd_create("test", MFD_CLOEXEC);

  snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)getpid(), file);
  const int again = file < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
  can = again >= 0;
  if (file >= 0) close(file);
  if (again >= 0) close(again);
#endif
  return can;
}
#endif
