/* SPDX-License-Identifier: Apache-2.0 */
/* nn/model_unet.c - the U-Net of DDPM (Ho, Jain, Abbeel 2020, appendix B), as diffusers' UNet2DModel.

   The network is a list of steps that forward walks from the first to the last and backward from
   the last to the first. A step that is kept hands its output also to a later one that joins it:

     conv_in                                                            kept
     each level down:  blocks x (residual block, attention)             kept
                       half size, but for the last level                kept
     middle:           residual block, attention, residual block
     each level up:    blocks + 1 x (join, residual block, attention)
                       double size, but for the last
     norm_out, silu, conv_out

   Parameters have the names of diffusers' modules, with .w and .b for .weight and .bias; kernels
   of convolutions stand as (out, y, x, in) there as (out, in, y, x). The defaults are the network
   that the paper trained on CIFAR-10. */
#include "nn/model.h"

#include <assert.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/resblock.h"

typedef struct {
  int64_t channels, blocks, head_channels, norm_groups, mid_norm_groups, time_shift, down_padding, classes;
  dx_ints multipliers, attention;
  double norm_eps, dropout;
  bool time_cosine_first;
  char mid[16], time[16], down[16], up[16];
} config;

static const dx_option options[] = {
  DX_OPTION(config, channels, "128", 2, 4096, "unit of channels"),
  DX_OPTION(config, multipliers, "[1, 2, 2, 2]", 1, 64, "channels of each level, in units of model.channels; every next level has half the size, and the time's embedding four times the channels of the first"),
  DX_OPTION(config, blocks, "2", 1, 8, "residual blocks of each level on the way down; one more on the way up"),
  DX_OPTION(config, attention, "[16]", 0, 65536, "sizes in pixels (of the longer side) at which blocks are followed by attention; 0: at none"),
  DX_OPTION(config, mid, "attention", 0, 0, "the middle: two residual blocks with attention between, without it, or nothing", .choices = "attention|plain|none"),
  DX_OPTION(config, head_channels, "all", 1, 4096, "channels of one attention head", .words = "all=0"),
  DX_OPTION(config, norm_groups, "32", 1, 4096, "groups of every normalisation"),
  DX_OPTION(config, mid_norm_groups, "auto", 1, 4096, "groups of the middle attention's normalisation; auto: norm_groups with time: add, no normalisation with scale", .words = "auto=0"),
  DX_OPTION(config, norm_eps, "1e-6", DBL_MIN, 1, "added to the variance in every normalisation"),
  DX_OPTION(config, dropout, "0.1", 0, 0.9, "chance that training drops a feature inside a residual block, in steps of 1/65536"),
  DX_OPTION(config, time, "add", 0, 0, "the time is added inside residual blocks, or scales and shifts there", .choices = "add|scale"),
  DX_OPTION(config, time_cosine_first, "false", 0, 0, "the time's cosines stand before its sines (diffusers: flip_sin_to_cos)"),
  DX_OPTION(config, time_shift, "1", 0, 1, "slowest frequency is 10000^(-(h - 1)/(h - time_shift)), h half the channels of the first level (diffusers: freq_shift)"),
  DX_OPTION(config, down, "conv", 0, 0, "half size by a convolution, or by means of 2x2 pixels inside a residual block", .choices = "conv|resample"),
  DX_OPTION(config, up, "conv", 0, 0, "double size by repeated pixels and a convolution, or by repeated pixels inside a residual block", .choices = "conv|resample"),
  DX_OPTION(config, down_padding, "0", 0, 1, "zeros left and above where a convolution halves the size"),
  DX_OPTION(config, classes, "0", 0, 65536, "classes that the prediction is conditioned on, at least those of the data; samples take the classes in turn; 0: none"),
  DX_OPTION_END
};

enum { LEVELS = 8, BLOCKS = 8, STEPS = LEVELS * (4 * BLOCKS + 4) + 4 };

typedef enum { CONV, BLOCK, ATTENTION, UP_CONV } step_kind;

typedef struct {
  step_kind kind;
  bool kept;  /* the output is joined later */
  int joined; /* step whose output stands behind the input, or -1 */
  dx_shape in, out; /* b = 1 */
  union { dx_conv conv; dx_resblock block; dx_attention attention; };
} step;

typedef struct {
  dx_embedding embedding;
  int steps;
  step step[STEPS];
  dx_norm norm_out;
  dx_conv conv_out;
  int64_t packed;
} unet;

/* x: the joined input; its memory takes the kept output's gradient on the way back.
   up: the enlarged input. */
typedef struct {
  float *x, *y, *up;
  union { dx_resblock_acts block; dx_attention_acts attention; };
} step_acts;

typedef struct {
  dx_embedding_acts embedding;
  float *time, *gtime; /* (B,E) */
  step_acts step[STEPS];
  double *stats_out;
  float *a_out, *g[2];
  const float *in; /* of the last forward */
  const int32_t *label;
} acts;

static dx_shape with(dx_shape s, int64_t B) { return (dx_shape){B, s.h, s.w, s.c}; }

/* ---- making ---- */

/* A network under construction. */
typedef struct {
  const config *c;
  unet *m;
  dx_params *params;
  int kept[STEPS], waiting; /* kept steps that none has joined yet */
  uint32_t dropouts;
} maker;

static int64_t channels_of(const maker *k, int level) { return k->c->channels * k->c->multipliers.v[level]; }

/* The next step, fed with the last one's output. */
static step *next(maker *k, step_kind kind)
{
  step *const s = &k->m->step[k->m->steps++];

  s->kind = kind;
  s->joined = -1;
  s->in = s->out = s[-1].out;
  return s;
}

static void keep(maker *k)
{
  k->m->step[k->m->steps - 1].kept = true;
  k->kept[k->waiting++] = k->m->steps - 1;
}

static dx_error *add_block(maker *k, const char *name, int64_t out, dx_resample resample, bool join)
{
  step *const s = next(k, BLOCK);

  if (join) {
    s->joined = k->kept[--k->waiting];
    s->in.c += k->m->step[s->joined].out.c;
  }
  const dx_resblock_config is = {
    .in = s->in.c, .out = out, .time = k->m->embedding.is.out, .groups = k->c->norm_groups, .eps = k->c->norm_eps,
    .dropout = k->c->dropout, .dropout_number = k->dropouts++, .resample = resample,
    .time_kind = strcmp(k->c->time, "scale") ? DX_TIME_ADD : DX_TIME_SCALE};

  DX_TRY(dx_resblock_init(&s->block, k->params, &k->m->packed, name, &is));
  s->out = dx_resblock_out(&s->block, s->in);
  return NULL;
}

static dx_error *add_attention(maker *k, const char *name, int64_t groups)
{
  step *const s = next(k, ATTENTION);
  const int64_t head = k->c->head_channels ? k->c->head_channels : s->in.c;

  return dx_attention_init(&s->attention, k->params, &k->m->packed, name, s->in.c, head, groups, k->c->norm_eps);
}

static dx_error *add_conv(maker *k, step_kind kind, const char *name, dx_conv_kind conv)
{
  step *const s = next(k, kind);

  if (kind == UP_CONV) s->out = dx_resample_out(DX_DOUBLE_SIZE, s->in);
  DX_TRY(dx_conv_init(&s->conv, k->params, &k->m->packed, name, conv, s->in.c, s->in.c));
  s->out = dx_conv_out(&s->conv, s->out);
  return NULL;
}

/* Does this size have attention? */
static bool attends(const maker *k, dx_shape s)
{
  for (int i = 0; i < k->c->attention.n; i++)
    if (k->c->attention.v[i] == (s.h > s.w ? s.h : s.w)) return true;
  return false;
}

/* One residual block of a level, and its attention. */
static dx_error *add_layer(maker *k, const char *place, int i, int layer, int64_t out, bool join)
{
  char name[64];

  snprintf(name, sizeof name, "%s_blocks.%d.resnets.%d", place, i, layer);
  DX_TRY(add_block(k, name, out, DX_SAME_SIZE, join));
  if (!attends(k, k->m->step[k->m->steps - 1].out)) return NULL;
  snprintf(name, sizeof name, "%s_blocks.%d.attentions.%d", place, i, layer);
  return add_attention(k, name, k->c->norm_groups);
}

static dx_error *add_down(maker *k, int level)
{
  const bool conv = !strcmp(k->c->down, "conv");
  char name[64];

  for (int i = 0; i < k->c->blocks; i++) {
    DX_TRY(add_layer(k, "down", level, i, channels_of(k, level), false));
    keep(k);
  }
  if (level == k->c->multipliers.n - 1) return NULL;
  snprintf(name, sizeof name, "down_blocks.%d.downsamplers.0%s", level, conv ? ".conv" : "");
  if (conv) DX_TRY(add_conv(k, CONV, name, k->c->down_padding ? DX_CONV_3_HALF_1 : DX_CONV_3_HALF));
  else DX_TRY(add_block(k, name, channels_of(k, level), DX_HALF_SIZE, false));
  keep(k);
  return NULL;
}

static dx_error *add_middle(maker *k)
{
  const int64_t out = channels_of(k, (int)k->c->multipliers.n - 1);
  const int64_t groups = k->c->mid_norm_groups ? k->c->mid_norm_groups : strcmp(k->c->time, "add") ? 0 : k->c->norm_groups;

  if (!strcmp(k->c->mid, "none")) return NULL;
  DX_TRY(add_block(k, "mid_block.resnets.0", out, DX_SAME_SIZE, false));
  if (!strcmp(k->c->mid, "attention")) DX_TRY(add_attention(k, "mid_block.attentions.0", groups));
  return add_block(k, "mid_block.resnets.1", out, DX_SAME_SIZE, false);
}

static dx_error *add_up(maker *k, int level)
{
  const int i = (int)k->c->multipliers.n - 1 - level;
  const bool conv = !strcmp(k->c->up, "conv");
  char name[64];

  for (int j = 0; j <= k->c->blocks; j++) DX_TRY(add_layer(k, "up", i, j, channels_of(k, level), true));
  if (level == 0) return NULL;
  snprintf(name, sizeof name, "up_blocks.%d.upsamplers.0%s", i, conv ? ".conv" : "");
  return conv ? add_conv(k, UP_CONV, name, DX_CONV_3) : add_block(k, name, channels_of(k, level), DX_DOUBLE_SIZE, false);
}

static dx_error *check(const config *c, const dx_model_spec *spec)
{
  const int64_t levels = c->multipliers.n, part = levels <= LEVELS ? (int64_t)1 << (levels - 1) : 1;

  if (levels > LEVELS) return DX_FAIL(CONFIG, "model.multipliers has %lld levels; allowed: up to %d", (long long)levels, LEVELS);
  if (spec->sample.h % part || spec->sample.w % part)
    return DX_FAIL(CONFIG, "model.multipliers has %lld levels, so height and width must be multiples of %lld: the data have %lld x %lld",
                   (long long)levels, (long long)part, (long long)spec->sample.h, (long long)spec->sample.w);
  if (c->classes && spec->classes == 0)
    return DX_FAIL(CONFIG, "model.classes is %lld, but the data have no labels", (long long)c->classes);
  if (c->classes && spec->classes > c->classes)
    return DX_FAIL(CONFIG, "model.classes is %lld, but the data have %lld classes", (long long)c->classes, (long long)spec->classes);
  return NULL;
}

static dx_error *build(maker *k, const dx_model_spec *spec)
{
  const config *const c = k->c;
  unet *const m = k->m;
  const int64_t channels = channels_of(k, 0);
  const dx_embedding_config is = {.sines = channels, .out = 4 * channels, .classes = c->classes,
                                  .shift = c->time_shift, .cosine_first = c->time_cosine_first};
  step *const first = &m->step[m->steps++];

  *first = (step){.kind = CONV, .joined = -1, .in = spec->sample, .out = spec->sample};
  first->out.c = channels;
  DX_TRY(dx_conv_init(&first->conv, k->params, &m->packed, "conv_in", DX_CONV_3, spec->sample.c, channels));
  DX_TRY(dx_embedding_init(&m->embedding, k->params, &m->packed, &is));
  keep(k);
  for (int i = 0; i < c->multipliers.n; i++) DX_TRY(add_down(k, i));
  DX_TRY(add_middle(k));
  for (int i = (int)c->multipliers.n - 1; i >= 0; i--) DX_TRY(add_up(k, i));
  DX_TRY(dx_norm_init(&m->norm_out, k->params, "conv_norm_out", DX_NORM_SILU, m->step[m->steps - 1].out.c,
                      c->norm_groups, c->norm_eps));
  return dx_conv_init(&m->conv_out, k->params, &m->packed, "conv_out", DX_CONV_3, m->step[m->steps - 1].out.c,
                      spec->out_channels);
}

static dx_error *create(const void *config_, const dx_model_spec *spec, dx_params *params, void **out)
{
  DX_TRY(check(config_, spec));
  unet *const m = calloc(1, sizeof *m);
  maker k = {.c = config_, .m = m, .params = params};

  if (!m) return DX_FAIL(INTERNAL, "no memory for a model");
  dx_error *const err = build(&k, spec);
  if (err) free(m);
  else *out = m;
  return err;
}

/* ---- weights ---- */

static int64_t packed(const void *model) { return ((const unet *)model)->packed; }

static void pack(const void *model, const dx_kernels *k, const float *w, float *packed_, int part, int parts)
{
  const unet *const m = model;

  for (int i = part; i < m->steps; i += parts) {
    const step *const s = &m->step[i];

    if (s->kind == BLOCK) dx_resblock_pack(&s->block, k, w, packed_);
    else if (s->kind == ATTENTION) dx_attention_pack(&s->attention, k, w, packed_);
    else dx_conv_pack(&s->conv, k, w, packed_);
  }
  if (part) return;
  dx_embedding_pack(&m->embedding, k, w, packed_);
  dx_conv_pack(&m->conv_out, k, w, packed_);
}

/* ---- memory ---- */

/* What a step needs beside its output. */
static void place_inside(const step *s, int64_t B, dx_arena *a, step_acts *t)
{
  const dx_shape in = with(s->in, B);

  if (s->joined >= 0) t->x = dx_arena_floats(a, dx_shape_count(in));
  if (s->kind == UP_CONV) t->up = dx_arena_floats(a, 4 * dx_shape_count(in));
  if (s->kind == BLOCK) dx_resblock_place(&s->block, in, a, &t->block);
  if (s->kind == ATTENTION) dx_attention_place(&s->attention, in, a, &t->attention);
}

/* Measures what the passes through a step take from the arena themselves. */
static void measure(const step *s, int64_t B, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);
  const dx_shape in = with(s->in, B);

  if (s->kind == BLOCK) dx_resblock_work(&s->block, in, a);
  if (s->kind == ATTENTION) dx_attention_work(&s->attention, in, a);
  if (s->kind == CONV) dx_conv_work(&s->conv, in, a);
  if (s->kind == UP_CONV) {
    dx_arena_floats(a, 4 * dx_shape_count(in));
    dx_conv_work(&s->conv, dx_resample_out(DX_DOUBLE_SIZE, in), a);
  }
  dx_arena_release(a, mark);
}

static int64_t widest(const unet *m)
{
  int64_t most = 0;

  for (int i = 0; i < m->steps; i++) {
    const int64_t in = dx_shape_dim(m->step[i].in), out = dx_shape_dim(m->step[i].out);

    if (in > most) most = in;
    if (out > most) most = out;
  }
  return most;
}

/* Training keeps the inside of every step; in inference all share one place. */
static void place(const void *model, int64_t B, dx_pass_kind kind, dx_arena *a, void *acts_)
{
  const unet *const m = model;
  acts *const s = acts_;
  const dx_shape last = with(m->step[m->steps - 1].out, B);

  dx_embedding_place(&m->embedding, B, a, &s->embedding);
  s->time = dx_arena_floats(a, B * m->embedding.is.out);
  s->gtime = dx_arena_floats(a, B * m->embedding.is.out);
  for (int i = 0; i < m->steps; i++) s->step[i].y = dx_arena_floats(a, B * dx_shape_dim(m->step[i].out));
  s->stats_out = dx_norm_stats(&m->norm_out, B, a);
  s->a_out = dx_arena_floats(a, dx_shape_count(last));
  const size_t inside = dx_arena_mark(a);
  size_t top = inside;
  for (int i = 0; i < m->steps; i++) {
    place_inside(&m->step[i], B, a, &s->step[i]);
    if (dx_arena_mark(a) > top) top = dx_arena_mark(a);
    if (kind == DX_PASS_INFER) dx_arena_release(a, inside);
  }
  if (kind == DX_PASS_INFER) dx_arena_floats(a, (int64_t)((top - inside) / sizeof(float)));
  for (int i = 0; i < 2 && kind == DX_PASS_TRAIN; i++) s->g[i] = dx_arena_floats(a, B * widest(m));
  for (int i = 0; i < m->steps; i++) measure(&m->step[i], B, a);
  const size_t mark = dx_arena_mark(a);
  dx_embedding_work(&m->embedding, B, a);
  dx_arena_release(a, mark);
  dx_norm_work(&m->norm_out, a);
  dx_conv_work(&m->conv_out, last, a);
}

/* ---- passes ---- */

/* y (n,c1+c2) = (a (n,c1), b (n,c2)). */
static void join(int64_t n, int64_t c1, const float *a, int64_t c2, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) {
    memcpy(y + i * (c1 + c2), a + i * c1, (size_t)c1 * sizeof *y);
    memcpy(y + i * (c1 + c2) + c1, b + i * c2, (size_t)c2 * sizeof *y);
  }
}

static void part(int64_t n, int64_t c1, float *a, int64_t c2, float *b, const float *y)
{
  for (int64_t i = 0; i < n; i++) {
    memcpy(a + i * c1, y + i * (c1 + c2), (size_t)c1 * sizeof *y);
    memcpy(b + i * c2, y + i * (c1 + c2) + c1, (size_t)c2 * sizeof *y);
  }
}

/* The input of step i as it was in forward. */
static const float *input(const unet *m, const acts *s, int i)
{
  return i == 0 ? s->in : m->step[i].joined >= 0 ? s->step[i].x : s->step[i - 1].y;
}

static void step_forward(const unet *m, const dx_pass *p, int64_t B, acts *s, int i)
{
  const step *const l = &m->step[i];
  step_acts *const t = &s->step[i];
  const dx_shape in = with(l->in, B), up = dx_resample_out(DX_DOUBLE_SIZE, in);

  if (l->joined >= 0) {
    const int64_t c2 = m->step[l->joined].out.c;

    join(B * in.h * in.w, in.c - c2, s->step[i - 1].y, c2, s->step[l->joined].y, t->x);
  }
  const float *const x = input(m, s, i);
  switch (l->kind) {
  case CONV: dx_conv_forward(&l->conv, p, in, x, (dx_conv_base){0}, t->y); break;
  case BLOCK: dx_resblock_forward(&l->block, p, in, x, s->time, &t->block, t->y); break;
  case ATTENTION: dx_attention_forward(&l->attention, p, in, x, &t->attention, t->y); break;
  case UP_CONV:
    dx_resample_forward(DX_DOUBLE_SIZE, in, x, t->up);
    dx_conv_forward(&l->conv, p, up, t->up, (dx_conv_base){0}, t->y);
    break;
  }
}

static void forward(const void *model, const dx_pass *p, int64_t B, const float *x, const dx_condition *c,
                    void *acts_, float *y)
{
  const unet *const m = model;
  acts *const s = acts_;
  const dx_shape last = with(m->step[m->steps - 1].out, B);

  s->in = x;
  s->label = c->label;
  dx_embedding_forward(&m->embedding, p, B, c->time, c->label, &s->embedding, s->time);
  for (int i = 0; i < m->steps; i++) step_forward(m, p, B, s, i);
  dx_norm_forward(&m->norm_out, p, last, (dx_beside){.a = s->step[m->steps - 1].y}, (dx_norm_with){0}, s->stats_out, s->a_out);
  dx_conv_forward(&m->conv_out, p, last, s->a_out, (dx_conv_base){0}, y);
}

static void step_backward(const unet *m, const dx_pass *p, int64_t B, acts *s, int i, const float *gy, float *gx)
{
  const step *const l = &m->step[i];
  const step_acts *const t = &s->step[i];
  const dx_shape in = with(l->in, B), up = dx_resample_out(DX_DOUBLE_SIZE, in);
  const float *const x = input(m, s, i);
  const size_t mark = dx_arena_mark(p->work);
  float *gup;

  switch (l->kind) {
  case CONV: dx_conv_backward(&l->conv, p, in, x, gy, gx, NULL); break;
  case BLOCK: dx_resblock_backward(&l->block, p, in, x, s->time, &t->block, gy, gx, s->gtime); break;
  case ATTENTION: dx_attention_backward(&l->attention, p, in, x, &t->attention, gy, gx); break;
  case UP_CONV:
    gup = dx_arena_floats(p->work, dx_shape_count(up));
    dx_conv_backward(&l->conv, p, up, t->up, gy, gup, NULL);
    dx_resample_backward(DX_DOUBLE_SIZE, in, gup, gx);
    break;
  }
  dx_arena_release(p->work, mark);
}

/* The step that joined the output of step i. */
static int joiner(const unet *m, int i)
{
  int j = i + 1;

  while (m->step[j].joined != i) j++;
  return j;
}

static void backward(const void *model, const dx_pass *p, int64_t B, void *acts_, float *gy, float *gx)
{
  const unet *const m = model;
  acts *const s = acts_;
  const dx_shape last = with(m->step[m->steps - 1].out, B);
  float *g = s->g[0], *spare = s->g[1], *swap;

  memset(s->gtime, 0, (size_t)(B * m->embedding.is.out) * sizeof *s->gtime);
  dx_conv_backward(&m->conv_out, p, last, s->a_out, gy, g, NULL);
  dx_norm_backward(&m->norm_out, p, last, (dx_beside){.a = s->step[m->steps - 1].y}, (dx_norm_with){0}, s->stats_out, g, NULL,
                   (dx_beside_out){.a = g}, NULL);
  for (int i = m->steps - 1; i >= 0; i--) {
    const step *const l = &m->step[i];

    if (l->kept) p->kernel->add(B * dx_shape_dim(l->out), g, s->step[joiner(m, i)].x, g);
    step_backward(m, p, B, s, i, g, i ? spare : gx);
    swap = g, g = spare, spare = swap;
    if (l->joined < 0) continue;
    const int64_t c2 = m->step[l->joined].out.c;
    part(B * l->in.h * l->in.w, l->in.c - c2, spare, c2, s->step[i].x, g);
    swap = g, g = spare, spare = swap;
  }
  dx_embedding_backward(&m->embedding, p, B, s->label, &s->embedding, s->gtime);
}

const dx_model dx_model_unet = {
  .name = "unet", .help = "the U-Net of DDPM, with residual blocks and attention: for images",
  .options = options, .config_size = sizeof(config), .create = create, .destroy = free,
  .packed = packed, .pack = pack, .acts_size = sizeof(acts), .place = place,
  .forward = forward, .backward = backward,
};
