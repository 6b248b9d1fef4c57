/* SPDX-License-Identifier: Apache-2.0 */
/* io/h5_read.c - what stands in an HDF5 file; see h5.h. */
#include "io/h5_inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 29 }; /* bytes of one transfer: MPI counts in int */

bool dx_h5_has(dx_h5 *f, const char *path)
{
  char *part = strdup(path);
  bool there = part != NULL;

  if (there && strcmp(path, "/") == 0) {
    free(part);
    return true;
  }
  /* a link is looked up only below groups that are there */
  for (char *p = part ? strchr(part + 1, '/') : NULL; there && p; p = strchr(p + 1, '/')) {
    *p = '\0';
    there = H5Lexists(f->file, part, H5P_DEFAULT) > 0;
    *p = '/';
  }
  there = there && H5Lexists(f->file, part, H5P_DEFAULT) > 0 &&
          H5Oexists_by_name(f->file, part, H5P_DEFAULT) > 0;
  free(part);
  H5Eclear2(H5E_DEFAULT);
  return there;
}

bool dx_h5_has_attr(dx_h5 *f, const char *path, const char *name)
{
  return dx_h5_has(f, path) && H5Aexists_by_name(f->file, path, name, H5P_DEFAULT) > 0;
}

/* The nearest of our types; false for what we do not read (compounds, enums, ...). */
static bool nearest(hid_t id, dx_h5_type *type)
{
  const size_t size = H5Tget_size(id);

  switch (H5Tget_class(id)) {
  case H5T_STRING: *type = DX_H5_TEXT; return true;
  case H5T_FLOAT: *type = size <= 4 ? DX_H5_F32 : DX_H5_F64; return true;
  case H5T_INTEGER: break;
  default: return false;
  }
  if (H5Tget_sign(id) == H5T_SGN_NONE)
    *type = size == 1 ? DX_H5_U8 : size == 2 ? DX_H5_I32 : size == 4 ? DX_H5_I64 : DX_H5_U64;
  else *type = size <= 4 ? DX_H5_I32 : DX_H5_I64;
  return true;
}

static dx_error *open_set(dx_h5 *f, const char *path, hid_t *set)
{
  H5O_info_t about;

  if (!dx_h5_has(f, path)) return DX_FAIL(DATA, "%s has no %s", f->path, path);
#if H5_VERSION_GE(1, 12, 0)
  if (H5Oget_info_by_name3(f->file, path, &about, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
#else
  if (H5Oget_info_by_name(f->file, path, &about, H5P_DEFAULT) < 0)
#endif
    return dx_h5_failed(f, "open", path);
  if (about.type != H5O_TYPE_DATASET)
    return DX_FAIL(DATA, "%s: %s is not a dataset", f->path, path);
  *set = H5Dopen2(f->file, path, H5P_DEFAULT);
  return *set < 0 ? dx_h5_failed(f, "open", path) : NULL;
}

static dx_error *look_at(dx_h5 *f, const char *path, hid_t set, dx_h5_info *info)
{
  const hid_t space = H5Dget_space(set), type = H5Dget_type(set);
  hsize_t dim[H5S_MAX_RANK];
  const int rank = H5Sget_simple_extent_ndims(space);
  const bool known = nearest(type, &info->type), simple = H5Sget_simple_extent_type(space) != H5S_NULL;
  int64_t count;

  if (rank >= 0) H5Sget_simple_extent_dims(space, dim, NULL);
  H5Sclose(space);
  H5Tclose(type);
  if (!known) return DX_FAIL(DATA, "%s: %s has a type that diffx does not read", f->path, path);
  if (!simple || rank < 0 || rank > DX_H5_RANK_MAX)
    return DX_FAIL(DATA, "%s: %s has %d dimensions; at most %d are read", f->path, path, rank,
                   DX_H5_RANK_MAX);
  info->rank = rank;
  for (int i = 0; i < rank; i++)
    if (dim[i] > INT64_MAX) return DX_FAIL(DATA, "%s: %s is too large", f->path, path);
    else info->dim[i] = (int64_t)dim[i];
  return dx_error_in(dx_h5_count(info, 0, 1, &count), "%s: %s", f->path, path);
}

dx_error *dx_h5_look(dx_h5 *f, const char *path, dx_h5_info *info)
{
  hid_t set;
  dx_h5_info found = {0};
  dx_error *e;

  DX_TRY(open_set(f, path, &set));
  e = look_at(f, path, set, &found);
  H5Dclose(set);
  if (!e) *info = found;
  return e;
}

/* How texts stand in a dataset or attribute: HDF5 converts neither fixed to variable length
   nor one character set to another, so they are read as they are. */
typedef struct { hid_t memory; size_t size; bool fixed; } text_form;

static text_form form_of(hid_t stored)
{
  text_form t = {.fixed = H5Tis_variable_str(stored) <= 0};

  t.memory = t.fixed ? H5Tcopy(stored) : dx_h5_memory_type(DX_H5_TEXT);
  if (!t.fixed) H5Tset_cset(t.memory, H5Tget_cset(stored));
  t.size = H5Tget_size(t.memory);
  return t;
}

/* One text of fixed length without what fills it up. */
static char *trimmed(const char *p, const text_form *t)
{
  size_t n = strnlen(p, t->size);

  while (H5Tget_strpad(t->memory) == H5T_STR_SPACEPAD && n > 0 && p[n - 1] == ' ') n--;
  return strndup(p, n);
}

/* The n texts of a buffer that HDF5 filled, each malloc'd; all NULL when memory runs out. */
static bool own_texts(const text_form *t, hid_t space, int64_t n, void *buffer, char **out)
{
  char *const *const found = buffer;
  bool good = true;

  for (int64_t i = 0; i < n; i++) {
    out[i] = t->fixed ? trimmed((const char *)buffer + (size_t)i * t->size, t)
                      : strdup(found[i] ? found[i] : "");
    good &= out[i] != NULL;
  }
  if (!t->fixed) H5Dvlen_reclaim(t->memory, space, H5P_DEFAULT, buffer);
  for (int64_t i = 0; i < n && !good; i++) {
    free(out[i]);
    out[i] = NULL;
  }
  return good;
}

/* The texts of a selection of a dataset. */
static dx_error *read_texts(dx_h5 *f, const char *path, hid_t set, hid_t here, hid_t there,
                            char **out)
{
  const hid_t stored = H5Dget_type(set);
  const text_form t = form_of(stored);
  const int64_t n = (int64_t)H5Sget_select_npoints(here);
  void *buffer = calloc((size_t)n + 1, t.size);
  dx_error *e = NULL;

  memset(out, 0, (size_t)n * sizeof *out);
  if (!buffer) e = DX_FAIL(INTERNAL, "out of memory");
  else if (H5Dread(set, t.memory, here, there, H5P_DEFAULT, buffer) < 0)
    e = dx_h5_failed(f, "read", path);
  else if (!own_texts(&t, here, n, buffer, out)) e = DX_FAIL(INTERNAL, "out of memory");
  free(buffer);
  H5Tclose(t.memory);
  H5Tclose(stored);
  return e;
}

static bool convertible(dx_h5_type from, dx_h5_type to)
{
  return (from == DX_H5_TEXT) == (to == DX_H5_TEXT);
}

/* One selection of rows: small enough for one transfer. */
static dx_error *read_piece(dx_h5 *f, const char *path, hid_t set, const dx_h5_info *info,
                            int64_t first, int64_t n, void *out)
{
  hsize_t start[DX_H5_RANK_MAX] = {0}, dim[DX_H5_RANK_MAX];
  const hid_t there = H5Dget_space(set);
  hid_t here;
  dx_error *e = NULL;

  for (int i = 0; i < info->rank; i++) dim[i] = (hsize_t)info->dim[i];
  if (info->rank > 0) {
    start[0] = (hsize_t)first;
    dim[0] = (hsize_t)n;
    H5Sselect_hyperslab(there, H5S_SELECT_SET, start, NULL, dim, NULL);
    here = H5Screate_simple(info->rank, dim, NULL);
  } else here = H5Screate(H5S_SCALAR);
  if (info->type == DX_H5_TEXT) e = read_texts(f, path, set, here, there, out);
  else if (H5Dread(set, dx_h5_memory_type(info->type), here, there, H5P_DEFAULT, out) < 0)
    e = dx_h5_failed(f, "read", path);
  H5Sclose(here);
  H5Sclose(there);
  return e;
}

static dx_error *read_rows(dx_h5 *f, const char *path, hid_t set, const dx_h5_info *info,
                           int64_t first, int64_t n, void *out)
{
  int64_t row, step;
  dx_error *e = NULL;

  DX_TRY(dx_h5_count(info, 1, (int64_t)dx_h5_type_size(info->type), &row));
  if (row == 0 || n == 0) return NULL;
  step = row < PIECE ? PIECE / row : 1;
  for (int64_t at = 0; at < n && !e; at += step)
    e = read_piece(f, path, set, info, first + at, n - at < step ? n - at : step,
                   (char *)out + at * row);
  return e;
}

/* n < 0: all. */
static dx_error *read_some(dx_h5 *f, const char *path, dx_h5_type type, int64_t first, int64_t n,
                           void *out)
{
  hid_t set;
  dx_h5_info info = {0};
  int64_t rows;
  dx_error *e;

  DX_TRY(open_set(f, path, &set));
  DX_TRY_GOTO(e, out, look_at(f, path, set, &info));
  rows = info.rank > 0 ? info.dim[0] : 1;
  if (n < 0) n = rows;
  if (first < 0 || n > rows || first > rows - n)
    e = DX_FAIL(INTERNAL, "%s: %s has %lld rows; %lld from row %lld on were wanted", f->path, path,
                (long long)rows, (long long)n, (long long)first);
  else if (!convertible(info.type, type))
    e = DX_FAIL(DATA, "%s: %s holds %s", f->path, path,
                info.type == DX_H5_TEXT ? "text, not numbers" : "numbers, not text");
  else {
    info.type = type;
    e = read_rows(f, path, set, &info, first, n, out);
  }
out:
  H5Dclose(set);
  return e;
}

dx_error *dx_h5_read(dx_h5 *f, const char *path, dx_h5_type type, void *out)
{
  return read_some(f, path, type, 0, -1, out);
}

dx_error *dx_h5_read_rows(dx_h5 *f, const char *path, dx_h5_type type, int64_t first, int64_t n,
                          void *out)
{
  if (n < 0) return DX_FAIL(INTERNAL, "%s: %s: %lld rows were wanted", f->path, path, (long long)n);
  return read_some(f, path, type, first, n, out);
}

/* --- attributes ---------------------------------------------------------- */

/* An attribute, its nearest type and how many values it has. */
typedef struct { hid_t id, stored; dx_h5_type type; int64_t count; } attribute;

static void attr_close(attribute *a)
{
  H5Tclose(a->stored);
  H5Aclose(a->id);
}

static dx_error *attr_open(dx_h5 *f, const char *path, const char *name, attribute *a)
{
  hid_t space;

  if (!dx_h5_has(f, path)) return DX_FAIL(DATA, "%s has no %s", f->path, path);
  if (H5Aexists_by_name(f->file, path, name, H5P_DEFAULT) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    return DX_FAIL(DATA, "%s: %s has no attribute %s", f->path, path, name);
  }
  a->id = H5Aopen_by_name(f->file, path, name, H5P_DEFAULT, H5P_DEFAULT);
  if (a->id < 0) return dx_h5_failed(f, "open the attribute", name);
  a->stored = H5Aget_type(a->id);
  space = H5Aget_space(a->id);
  a->count = (int64_t)H5Sget_simple_extent_npoints(space);
  H5Sclose(space);
  if (nearest(a->stored, &a->type)) return NULL;
  attr_close(a);
  return DX_FAIL(DATA, "%s: the attribute %s of %s has a type that diffx does not read", f->path,
                 name, path);
}

/* One number, converted by HDF5. */
static dx_error *get_number(dx_h5 *f, const char *path, const char *name, bool whole, void *v)
{
  attribute a;
  dx_error *e = NULL;

  DX_TRY(attr_open(f, path, name, &a));
  if (a.type == DX_H5_TEXT || a.count != 1 ||
      (whole && (a.type == DX_H5_F32 || a.type == DX_H5_F64)))
    e = DX_FAIL(DATA, "%s: the attribute %s of %s is not one %s", f->path, name, path,
                whole ? "whole number" : "number");
  else if (H5Aread(a.id, whole ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, v) < 0)
    e = dx_h5_failed(f, "read the attribute", name);
  attr_close(&a);
  return e;
}

dx_error *dx_h5_get_int(dx_h5 *f, const char *path, const char *name, int64_t *v)
{
  return get_number(f, path, name, true, v);
}

dx_error *dx_h5_get_real(dx_h5 *f, const char *path, const char *name, double *v)
{
  return get_number(f, path, name, false, v);
}

/* n texts as one, a line each. */
static char *join(char *const *text, int64_t n)
{
  size_t room = 1;
  char *all, *p;

  for (int64_t i = 0; i < n; i++) room += strlen(text[i]) + 1;
  all = p = malloc(room);
  if (!all) return NULL;
  *p = '\0';
  for (int64_t i = 0; i < n; i++) p += sprintf(p, i > 0 ? "\n%s" : "%s", text[i]);
  return all;
}

static dx_error *get_texts(dx_h5 *f, const char *name, const attribute *a, char **v)
{
  const text_form t = form_of(a->stored);
  const hid_t space = H5Aget_space(a->id);
  const size_t n = (size_t)a->count;
  void *buffer = calloc(n + 1, t.size);
  char **text = calloc(n + 1, sizeof *text), *all = NULL;
  dx_error *e = NULL;

  if (!text || !buffer) e = DX_FAIL(INTERNAL, "out of memory");
  else if (n > 0 && H5Aread(a->id, t.memory, buffer) < 0)
    e = dx_h5_failed(f, "read the attribute", name);
  else {
    if (own_texts(&t, space, a->count, buffer, text)) all = join(text, a->count);
    if (!all) e = DX_FAIL(INTERNAL, "out of memory");
    for (size_t i = 0; i < n; i++) free(text[i]);
  }
  if (!e) *v = all;
  free(text);
  free(buffer);
  H5Sclose(space);
  H5Tclose(t.memory);
  return e;
}

dx_error *dx_h5_get_text(dx_h5 *f, const char *path, const char *name, char **v)
{
  attribute a;
  dx_error *e;

  DX_TRY(attr_open(f, path, name, &a));
  if (a.type == DX_H5_TEXT) e = get_texts(f, name, &a, v);
  else e = DX_FAIL(DATA, "%s: the attribute %s of %s is not text", f->path, name, path);
  attr_close(&a);
  return e;
}

dx_error *dx_h5_expect(dx_h5 *f, const char *content)
{
  char *found;
  dx_error *e = NULL;

  DX_TRY(dx_h5_get_text(f, "/", "content", &found));
  if (strcmp(found, content)) e = DX_FAIL(DATA, "%s is a %s file of diffx, not a %s file", f->path, found, content);
  free(found);
  return e;
}

/* --- names --------------------------------------------------------------- */

/* Name number i of the members of a group, or of an object's attributes. */
static ssize_t name_at(hid_t object, bool attributes, hsize_t i, char *name, size_t room)
{
  return attributes ? H5Aget_name_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, room,
                                         H5P_DEFAULT)
                    : H5Lget_name_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, room,
                                         H5P_DEFAULT);
}

static char *name_new(hid_t object, bool attributes, hsize_t i)
{
  const ssize_t n = name_at(object, attributes, i, NULL, 0);
  char *name = n < 0 ? NULL : malloc((size_t)n + 1);

  if (name) name_at(object, attributes, i, name, (size_t)n + 1);
  return name;
}

static int64_t names_in(hid_t object, bool attributes)
{
  H5G_info_t g;
  H5O_info_t o;

  if (!attributes) return H5Gget_info(object, &g) < 0 ? -1 : (int64_t)g.nlinks;
#if H5_VERSION_GE(1, 12, 0)
  return H5Oget_info3(object, &o, H5O_INFO_NUM_ATTRS) < 0 ? -1 : (int64_t)o.num_attrs;
#else
  return H5Oget_info(object, &o) < 0 ? -1 : (int64_t)o.num_attrs;
#endif
}

static dx_error *list(dx_h5 *f, const char *path, bool attributes, char ***names, int *count)
{
  const hid_t object = H5Oopen(f->file, path, H5P_DEFAULT);
  const int64_t n = object < 0 ? -1 : names_in(object, attributes);
  char **all = n < 0 ? NULL : calloc((size_t)n + 1, sizeof *all);
  dx_error *e = n < 0 ? dx_h5_failed(f, "list", path) : NULL;

  if (!e && !all) e = DX_FAIL(INTERNAL, "out of memory");
  for (int64_t i = 0; i < n && !e; i++) {
    all[i] = name_new(object, attributes, (hsize_t)i);
    if (!all[i]) e = dx_h5_failed(f, "list", path);
  }
  if (object >= 0) H5Oclose(object);
  if (e) dx_h5_names_free(all, (int)n);
  else {
    *names = all;
    *count = (int)n;
  }
  return e;
}

dx_error *dx_h5_list(dx_h5 *f, const char *group, char ***names, int *count)
{
  return list(f, group, false, names, count);
}

dx_error *dx_h5_list_attrs(dx_h5 *f, const char *path, char ***names, int *count)
{
  return list(f, path, true, names, count);
}

void dx_h5_names_free(char **names, int count)
{
  for (int i = 0; names && i < count; i++) free(names[i]);
  free(names);
}

double dx_h5_last(dx_h5 *f, const char *path)
{
  dx_h5_info info;
  double v = NAN;
  dx_error *err = dx_h5_look(f, path, &info);

  if (!err && info.rank == 1 && info.dim[0] > 0) err = dx_h5_read_rows(f, path, DX_H5_F64, info.dim[0] - 1, 1, &v);
  dx_error_free(err);
  return v;
}
