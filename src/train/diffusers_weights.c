/* SPDX-License-Identifier: Apache-2.0 */
/* train/diffusers_weights.c - the parameters of a U-Net as tensors of diffusers: names, shapes and order of numbers. */
#include "train/diffusers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/safetensors.h"

enum { TOLD_MOST = 8 };

const char dx_diffusers_weights_name[] = "diffusion_pytorch_model.safetensors";

/* A parameter as a tensor of theirs: name and shape. Projections of attention are linear layers there. */
static void their_tensor(const dx_param_entry *e, dx_tensor_out *t)
{
  const size_t stem = strlen(e->name) - 2;

  *t = (dx_tensor_out){.dims = e->dims, .n = e->where.n};
  snprintf(t->name, sizeof t->name, "%.*s%s", (int)stem, e->name, e->name[stem + 1] == 'w' ? ".weight" : ".bias");
  memcpy(t->dim, e->dim, sizeof e->dim);
  if (e->dims < 4) return;
  t->dim[1] = e->dim[3];
  t->dim[2] = e->dim[1];
  t->dim[3] = e->dim[2];
  if (strstr(e->name, ".attentions.")) t->dims = 2;
}

/* Kernels: (out, y, x, in) with us, (out, in, y, x) there; the rest is the same. */
static void to_theirs(const dx_param_entry *e, const float *ours, float *theirs)
{
  const int64_t in = e->dims == 4 ? e->dim[3] : 1, pixels = e->dims == 4 ? e->dim[1] * e->dim[2] : 1;

  for (int64_t i = 0; i < e->where.n; i++)
    theirs[i / (in * pixels) * in * pixels + i % in * pixels + i / in % pixels] = ours[i];
}

dx_error *dx_diffusers_write_weights(const char *path, const dx_params *p, const float *w)
{
  dx_tensor_out *const t = calloc((size_t)p->count, sizeof *t);
  float *const theirs = malloc((size_t)p->floats * sizeof *theirs + 1);
  dx_error *err = t && theirs ? NULL : DX_FAIL(INTERNAL, "no memory for %s", path);

  for (int64_t i = 0; !err && i < p->count; i++) {
    const dx_param_entry *const e = &p->entry[i];

    their_tensor(e, &t[i]);
    to_theirs(e, w + e->where.at, theirs + e->where.at);
    t[i].data = theirs + e->where.at;
  }
  if (!err) err = dx_safetensors_write(path, t, p->count);
  free(t);
  free(theirs);
  return err;
}

#ifndef DX_JANSSON
dx_error *dx_diffusers_read_weights(const char *folder, const dx_params *p, float *w)
{
  (void)p;
  (void)w;
  return DX_FAIL(USAGE, "%s cannot be read: this diffx was built without jansson", folder);
}
#else

static void to_ours(const dx_param_entry *e, const float *theirs, float *ours)
{
  const int64_t in = e->dims == 4 ? e->dim[3] : 1, pixels = e->dims == 4 ? e->dim[1] * e->dim[2] : 1;

  for (int64_t i = 0; i < e->where.n; i++)
    ours[i] = theirs[i / (in * pixels) * in * pixels + i % in * pixels + i / in % pixels];
}

/* The tensor of that name, or of the one that the attention's projections had before diffusers 0.15. */
static const dx_tensor *find_tensor(const dx_safetensors *f, const char *name)
{
  static const char *const old[][2] = {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
  const dx_tensor *t = dx_safetensors_find(f, name);

  for (int i = 0; !t && i < 4; i++) {
    const char *const at = strstr(name, old[i][0]);
    char other[128];

    if (!at) continue;
    snprintf(other, sizeof other, "%.*s%s%s", (int)(at - name), name, old[i][1], at + strlen(old[i][0]));
    t = dx_safetensors_find(f, other);
  }
  return t;
}

/* What is wrong with the names and shapes of a file: a line each, up to a limit. */
typedef struct { char text[TOLD_MOST * 512]; int lines; } findings;

static void note(findings *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(findings *n, const char *fmt, ...)
{
  char *const end = n->text + strlen(n->text);
  const size_t room = sizeof n->text - strlen(n->text);
  va_list ap;

  if (n->lines++ >= TOLD_MOST) return;
  va_start(ap, fmt);
  if (n->lines > 1) *end = '\n';
  vsnprintf(end + (n->lines > 1), room - (n->lines > 1), fmt, ap);
  va_end(ap);
}

/* Match every parameter with its tensor: found[i] of parameter i. */
static dx_error *match(const dx_safetensors *f, const dx_params *p, const dx_tensor **found, bool *used)
{
  findings n = {.text = ""};
  char theirs[DX_TENSOR_SHAPE], ours[DX_TENSOR_SHAPE];
  dx_tensor_out want;

  for (int64_t i = 0; i < p->count; i++) {
    their_tensor(&p->entry[i], &want);
    found[i] = find_tensor(f, want.name);
    dx_tensor_shape(want.dims, want.dim, ours);
    if (!found[i]) {
      note(&n, "%.240s: %s is missing; the network of config.json has it, %s", f->path, want.name, ours);
      continue;
    }
    used[found[i] - f->tensor] = true;
    if (found[i]->dims != want.dims || memcmp(found[i]->dim, want.dim, (size_t)want.dims * sizeof *want.dim))
      note(&n, "%.240s: %.120s is %s; the network of config.json has %s", f->path, found[i]->name,
           dx_tensor_shape(found[i]->dims, found[i]->dim, theirs), ours);
  }
  for (int64_t i = 0; i < f->count; i++)
    if (!used[i])
      note(&n, "%.240s: %.120s %s is left over: the network of config.json has no such tensor", f->path, f->tensor[i].name,
           dx_tensor_shape(f->tensor[i].dims, f->tensor[i].dim, theirs));
  if (n.lines > TOLD_MOST) return DX_FAIL(DATA, "%s\nand %d more", n.text, n.lines - TOLD_MOST);
  return n.lines ? DX_FAIL(DATA, "%s", n.text) : NULL;
}

static dx_error *take_weights(const dx_safetensors *f, const dx_params *p, float *w)
{
  const dx_tensor **const found = calloc((size_t)p->count + 1, sizeof *found);
  bool *const used = calloc((size_t)f->count + 1, sizeof *used);
  float *const theirs = malloc((size_t)p->floats * sizeof *theirs + 1);
  dx_error *err = found && used && theirs ? match(f, p, found, used) : DX_FAIL(INTERNAL, "no memory for weights");

  for (int64_t i = 0; !err && i < p->count; i++) {
    const dx_param_entry *const e = &p->entry[i];

    err = dx_safetensors_floats(f, found[i], theirs);
    if (!err) to_ours(e, theirs, w + e->where.at);
  }
  free(found);
  free(used);
  free(theirs);
  return err;
}

dx_error *dx_diffusers_read_weights(const char *folder, const dx_params *p, float *w)
{
  char path[4096];
  dx_safetensors f;
  dx_error *err;

  snprintf(path, sizeof path, "%s/%s", folder, dx_diffusers_weights_name);
  if (!dx_file_exists(path)) {
    const char *const other = dx_folder_has(folder, "diffusion_pytorch_model.bin") ? "diffusion_pytorch_model.bin, which is Python's pickle"
                              : dx_folder_has(folder, "diffusion_pytorch_model.safetensors.index.json") ? "weights in several files"
                                                                                                   : NULL;

    if (other) return DX_FAIL(DATA, "%s has %s; allowed: one %s (save_pretrained of diffusers writes it)", folder, other, dx_diffusers_weights_name);
  }
  DX_TRY(dx_safetensors_read(path, &f));
  memset(w, 0, (size_t)p->floats * sizeof *w); /* the padding, too */
  err = take_weights(&f, p, w);
  dx_safetensors_free(&f);
  return err;
}
#endif
