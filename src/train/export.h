/* SPDX-License-Identifier: Apache-2.0 */
/* train/export.h - samples in the forms that other programs read (`diffx export-samples`). All Local. */
#ifndef DX_TRAIN_EXPORT_H
#define DX_TRAIN_EXPORT_H
#include "base/error.h"
#include "base/log.h"

/* The newest file of RUN/samples, or the file itself if path is one (malloc'd). */
dx_error *dx_samples_resolve(const char *path, char **file) DX_MUST_CHECK;
/* Samples of a file to path.npz, as guided-diffusion's evaluator takes them: arr_0, of images uint8 (N, H, W, 3), a gray one
   three times; else float32 in data units; arr_1, int64 (N), the classes where the network was told them. */
dx_error *dx_export_npz(const char *samples, const char *path, dx_logger *log) DX_MUST_CHECK;
/* Images to folder/000000.png and so on; where the folder is there, it must be empty. DX_E_DATA where they are no images. */
dx_error *dx_export_png(const char *samples, const char *folder, dx_logger *log) DX_MUST_CHECK;
#endif
