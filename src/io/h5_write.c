/* SPDX-License-Identifier: Apache-2.0 */
/* io/h5_write.c - filling the image of an HDF5 file; see h5.h. */
#include "io/h5_inside.h"

#include <hdf5_hl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 18 }; /* bytes of a chunk where the caller names no rows */

/* On disk everything is little-endian. */
static hid_t file_type(dx_h5_type type)
{
  switch (type) {
  case DX_H5_U8:  return H5T_STD_U8LE;
  case DX_H5_I32: return H5T_STD_I32LE;
  case DX_H5_I64: return H5T_STD_I64LE;
  case DX_H5_U64: return H5T_STD_U64LE;
  case DX_H5_F32: return H5T_IEEE_F32LE;
  case DX_H5_F64: return H5T_IEEE_F64LE;
  case DX_H5_TEXT: break;
  }
  return dx_h5_memory_type(DX_H5_TEXT);
}

/* The groups above path, each without its time of birth. */
static dx_error *make_groups(dx_h5 *f, const char *path)
{
  char *part = strdup(path);
  hid_t creation;
  dx_error *e = NULL;

  if (!part) return DX_FAIL(INTERNAL, "out of memory");
  creation = H5Pcreate(H5P_GROUP_CREATE);
  H5Pset_obj_track_times(creation, 0);
  for (char *p = strchr(part + 1, '/'); p && !e; p = strchr(p + 1, '/')) {
    hid_t group;

    *p = '\0';
    if (H5Lexists(f->file, part, H5P_DEFAULT) <= 0) {
      group = H5Gcreate2(f->file, part, H5P_DEFAULT, creation, H5P_DEFAULT);
      if (group < 0) e = dx_h5_failed(f, "make the group", part);
      else H5Gclose(group);
    }
    *p = '/';
  }
  H5Pclose(creation);
  free(part);
  return e;
}

dx_error *dx_h5_group(dx_h5 *f, const char *path)
{
  char *below = malloc(strlen(path) + 2);
  dx_error *e;

  if (!below) return DX_FAIL(INTERNAL, "out of memory");
  strcpy(below, path);
  strcat(below, "/");
  e = make_groups(f, below);
  free(below);
  return e;
}

/* Chunks of whole rows; none for a dataset without rows, nor for texts, which HDF5 keeps elsewhere. */
static dx_error *set_storage(hid_t creation, const dx_h5_info *info, const dx_h5_storage *storage)
{
  hsize_t chunk[DX_H5_RANK_MAX];
  int64_t row, rows = storage->rows_per_chunk;
  const int64_t size = (int64_t)dx_h5_type_size(info->type);

  DX_TRY(dx_h5_count(info, 1, 1, &row));
  if (info->rank == 0 || row == 0 || info->dim[0] == 0 || info->type == DX_H5_TEXT) return NULL;
  if (rows <= 0) rows = CHUNK / (row * size);
  if (rows < 1) rows = 1;
  if (rows > info->dim[0]) rows = info->dim[0];
  if (rows > (int64_t)UINT32_MAX / size / row) /* HDF5: a chunk is below 4 GiB */
    return DX_FAIL(INTERNAL, "a chunk of %lld rows is too large for HDF5", (long long)rows);
  chunk[0] = (hsize_t)rows;
  for (int i = 1; i < info->rank; i++) chunk[i] = (hsize_t)info->dim[i];
  H5Pset_chunk(creation, info->rank, chunk);
  if (storage->compress) {
    H5Pset_shuffle(creation);
    H5Pset_deflate(creation, 4);
  }
  H5Pset_fletcher32(creation);
  return NULL;
}

static hid_t space_of(const dx_h5_info *info)
{
  hsize_t dim[DX_H5_RANK_MAX];

  if (info->rank == 0) return H5Screate(H5S_SCALAR);
  for (int i = 0; i < info->rank; i++) dim[i] = (hsize_t)info->dim[i];
  return H5Screate_simple(info->rank, dim, NULL);
}

static dx_error *create_dataset(dx_h5 *f, const char *path, const dx_h5_info *info,
                                const dx_h5_storage *storage, hid_t *out)
{
  hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space, type;
  dx_error *e = NULL;

  H5Pset_obj_track_times(creation, 0);
  if (storage) e = set_storage(creation, info, storage);
  if (!e) {
    space = space_of(info);
    type = file_type(info->type);
    *out = H5Dcreate2(f->file, path, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (*out < 0) e = dx_h5_failed(f, "make the dataset", path);
    dx_h5_type_close(info->type, type);
    if (space >= 0) H5Sclose(space);
  }
  H5Pclose(creation);
  return e;
}

static dx_error *write_all(dx_h5 *f, const char *path, hid_t set, dx_h5_type type, const void *data)
{
  const hid_t memory = dx_h5_memory_type(type);
  dx_error *e = NULL;

  if (H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
    e = dx_h5_failed(f, "write", path);
  dx_h5_type_close(type, memory);
  return e;
}

dx_error *dx_h5_write(dx_h5 *f, const char *path, const dx_h5_info *info, const void *data,
                      const char *units, const char *description, const dx_h5_storage *storage)
{
  hid_t set;
  int64_t count;
  dx_error *e = NULL;

  if (info->rank < 0 || info->rank > DX_H5_RANK_MAX)
    return DX_FAIL(INTERNAL, "%s has %d dimensions", path, info->rank);
  DX_TRY(dx_error_in(dx_h5_count(info, 0, 1, &count), "%s", path));
  DX_TRY(make_groups(f, path));
  DX_TRY(create_dataset(f, path, info, storage, &set));
  if (data && count > 0) e = write_all(f, path, set, info->type, data);
  H5Dclose(set);
  if (!e) e = dx_h5_set_text(f, path, "units", units);
  if (!e) e = dx_h5_set_text(f, path, "description", description);
  return e;
}

dx_error *dx_h5_write_rows(dx_h5 *f, const char *path, int64_t first, int64_t n, const void *data)
{
  dx_h5_info info;
  hsize_t start[DX_H5_RANK_MAX] = {0}, dim[DX_H5_RANK_MAX];
  hid_t set, there, here, memory;
  dx_error *e = NULL;

  DX_TRY(dx_h5_look(f, path, &info));
  if (info.rank == 0 || first < 0 || n < 0 || n > info.dim[0] || first > info.dim[0] - n)
    return DX_FAIL(INTERNAL, "%s has %lld rows; %lld from row %lld on were given", path,
                   (long long)(info.rank > 0 ? info.dim[0] : 1), (long long)n, (long long)first);
  if (n == 0) return NULL;
  for (int i = 0; i < info.rank; i++) dim[i] = (hsize_t)info.dim[i];
  start[0] = (hsize_t)first;
  dim[0] = (hsize_t)n;
  set = H5Dopen2(f->file, path, H5P_DEFAULT);
  there = H5Dget_space(set);
  here = H5Screate_simple(info.rank, dim, NULL);
  memory = dx_h5_memory_type(info.type);
  H5Sselect_hyperslab(there, H5S_SELECT_SET, start, NULL, dim, NULL);
  if (H5Dwrite(set, memory, here, there, H5P_DEFAULT, data) < 0) e = dx_h5_failed(f, "write", path);
  dx_h5_type_close(info.type, memory);
  H5Sclose(here);
  H5Sclose(there);
  H5Dclose(set);
  return e;
}

dx_error *dx_h5_attach_scale(dx_h5 *f, const char *path, int dim, const char *scale,
                             const char *name)
{
  const hid_t set = H5Dopen2(f->file, path, H5P_DEFAULT);
  const hid_t along = H5Dopen2(f->file, scale, H5P_DEFAULT);
  herr_t bad = set < 0 || along < 0 ? -1 : 0;
  dx_error *e = NULL;

  if (bad >= 0 && H5DSis_scale(along) <= 0) bad = H5DSset_scale(along, name);
  if (bad >= 0) bad = H5DSattach_scale(set, along, (unsigned)dim);
  if (bad >= 0) bad = H5DSset_label(set, (unsigned)dim, name);
  if (bad < 0) e = dx_h5_failed(f, "attach a scale to", path);
  if (set >= 0) H5Dclose(set);
  if (along >= 0) H5Dclose(along);
  return e;
}

/* One value; a former one of that name goes. */
static dx_error *set_attr(dx_h5 *f, const char *path, const char *name, dx_h5_type type,
                          const void *value)
{
  const hid_t object = H5Oopen(f->file, path, H5P_DEFAULT);
  hid_t space, memory, disk, attr;
  dx_error *e = NULL;

  if (object < 0) return dx_h5_failed(f, "find", path);
  if (H5Aexists(object, name) > 0) H5Adelete(object, name);
  space = H5Screate(H5S_SCALAR);
  disk = file_type(type);
  memory = dx_h5_memory_type(type);
  attr = H5Acreate2(object, name, disk, space, H5P_DEFAULT, H5P_DEFAULT);
  if (attr < 0 || H5Awrite(attr, memory, value) < 0) e = dx_h5_failed(f, "write the attribute", name);
  if (attr >= 0) H5Aclose(attr);
  dx_h5_type_close(type, memory);
  dx_h5_type_close(type, disk);
  H5Sclose(space);
  H5Oclose(object);
  return e;
}

dx_error *dx_h5_set_int(dx_h5 *f, const char *path, const char *name, int64_t v)
{
  return set_attr(f, path, name, DX_H5_I64, &v);
}

dx_error *dx_h5_set_real(dx_h5 *f, const char *path, const char *name, double v)
{
  return set_attr(f, path, name, DX_H5_F64, &v);
}

dx_error *dx_h5_set_text(dx_h5 *f, const char *path, const char *name, const char *v)
{
  return set_attr(f, path, name, DX_H5_TEXT, &v);
}

dx_error *dx_h5_set_hash(dx_h5 *f, const char *path, const char *name, uint64_t v)
{
  char text[17];

  snprintf(text, sizeof text, "%016" PRIx64, v);
  return dx_h5_set_text(f, path, name, text);
}
