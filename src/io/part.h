/* SPDX-License-Identifier: Apache-2.0 */
/* io/part.h - the steps of an atomic write that files of this folder share. All Local. */
#ifndef DX_IO_PART_H
#define DX_IO_PART_H
#include "base/error.h"

/* The temporary name beside path, malloc'd; NULL without memory. */
char *dx_file_part(const char *path);
/* Put the folder that holds path on the disk: a rename in it then survives a power cut. */
dx_error *dx_folder_sync(const char *path) DX_MUST_CHECK;
#endif
