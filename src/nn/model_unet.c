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

   Every output, gradient, inside and scratch of a step lives from one position of the two passes to
   another, and what never lives at the same time shares memory (base/layout.h). Positions count the
   embedding, the steps, the last two layers, and then the same from the last to the first.

   Parameters have the names of diffusers' modules, with .w and .b for .weight and .bias; kernels
   of convolutions stand as (out, y, x, in) there as (out, in, y, x). The defaults are the network
   that the paper trained on CIFAR-10. */
#include "nn/model.h"

#include <assert.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/layout.h"
#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/resblock.h"

typedef struct {
  int64_t channels, blocks, head_channels, norm_groups, mid_norm_groups, time_shift, down_padding, classes;
  dx_ints multipliers, attention;
  double norm_eps, dropout, time_factor;
  bool time_cosine_first, recompute;
  char conv[16], mid[16], time[16], down[16], up[16];
} config;

static const dx_option options[] = {
  DX_OPTION(config, channels, "128", 2, 4096, "unit of channels", .alias = "dim|width|model_channels|num_channels"),
  DX_OPTION(config, multipliers, "[1, 2, 2, 2]", 1, 64, "channels of each level, in units of model.channels; every next level has half the size, and the time's embedding four times the channels of the first", .alias = "channel_mult|dim_mults|ch_mult|block_out_channels"),
  DX_OPTION(config, blocks, "2", 1, 8, "residual blocks of each level on the way down; one more on the way up", .alias = "num_res_blocks|layers_per_block"),
  DX_OPTION(config, attention, "[16]", 0, 65536, "sizes in pixels (of the longer side) at which blocks are followed by attention; 0: at none"),
  DX_OPTION(config, mid, "attention", 0, 0, "the middle: two residual blocks with attention between, without it, or nothing", .choices = "attention|plain|none"),
  DX_OPTION(config, head_channels, "all", 1, 4096, "channels of one attention head", .words = "all=0"),
  DX_OPTION(config, norm_groups, "32", 1, 4096, "groups of every normalisation"),
  DX_OPTION(config, mid_norm_groups, "auto", 1, 4096, "groups of the middle attention's normalisation; auto: norm_groups with time: add, no normalisation with scale", .words = "auto=0"),
  DX_OPTION(config, norm_eps, "1e-6", DBL_MIN, 1, "added to the variance in every normalisation"),
  DX_OPTION(config, dropout, "0.1", 0, 0.9, "chance that training drops a feature inside a residual block, in steps of 1/65536"),
  DX_OPTION(config, time, "add", 0, 0, "the time is added inside residual blocks, or scales and shifts there", .choices = "add|scale"),
  DX_OPTION(config, time_factor, "1", 1e-6, 1e6, "the index t - 1 is multiplied with it before its sines; Nichol and Dhariwal 2021 scale T to 1000", .before = "1"),
  DX_OPTION(config, time_cosine_first, "false", 0, 0, "the time's cosines stand before its sines (diffusers: flip_sin_to_cos)"),
  DX_OPTION(config, time_shift, "1", 0, 1, "slowest frequency is 10000^(-(h - 1)/(h - time_shift)), h half the channels of the first level (diffusers: freq_shift)"),
  DX_OPTION(config, down, "conv", 0, 0, "half size by a convolution, or by means of 2x2 pixels inside a residual block", .choices = "conv|resample"),
  DX_OPTION(config, up, "conv", 0, 0, "double size by repeated pixels and a convolution, or by repeated pixels inside a residual block", .choices = "conv|resample"),
  DX_OPTION(config, down_padding, "0", 0, 1, "zeros left and above where a convolution halves the size"),
  DX_OPTION(config, conv, "auto", 0, 0, "convolutions: each by its fastest way, or all by products with patches, to check the others by", .choices = "auto|direct"),
  DX_OPTION(config, classes, "0", 0, 65536, "classes that the prediction is conditioned on, at least those of the data; samples take the classes in turn; 0: none"),
  DX_OPTION(config, recompute, "false", 0, 0, "backward computes the inside of residual blocks and attention again, and every pass packs its weights layer by layer, instead of keeping them: about six tenths of the memory, with run.crew half of it, more time, the same bits", .role = DX_RUN),
  DX_OPTION_END
};

enum { LEVELS = 8, BLOCKS = 8, STEPS = LEVELS * (4 * BLOCKS + 4) + 4 };

typedef enum { CONV, BLOCK, ATTENTION, UP_CONV } step_kind;

typedef struct {
  step_kind kind;
  bool kept;  /* the output is joined later */
  int joined; /* step whose output stands behind the input, or -1 */
  dx_shape in, out; /* b = 1 */
  int64_t packed, packed_at; /* floats of its packed weights; where they stand in those of the model */
  union { dx_conv conv; dx_resblock block; dx_attention attention; };
} step;

typedef struct {
  dx_embedding embedding;
  int steps;
  step step[STEPS];
  dx_norm norm_out;
  dx_conv conv_out;
  int64_t packed;
  bool recompute; /* a step packs its weights itself, in both passes, and packed is of the others alone */
} unet;

/* Output, its gradient, and the scratch of the two passes. */
typedef struct {
  float *y, *g;
  dx_arena forward, backward;
  union { dx_resblock_acts block; dx_attention_acts attention; };
} step_acts;

typedef struct {
  dx_layout layout;
  dx_embedding_acts embedding;
  float *time, *gtime; /* (B,E) */
  step_acts step[STEPS];
  double *stats_out;
  dx_arena out_forward, out_backward, embedding_backward;
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

/* For images of that size. With one tile of each example, or hardly more, Winograd's U costs as much time on its way from
   memory as its products save, being four times as many numbers as W. In DDPM's network for CIFAR-10 a third of all U would
   belong to the level of 4 x 4 pixels. */
static dx_conv_kind conv_3(const maker *k, dx_shape s)
{
  return !strcmp(k->c->conv, "direct") || s.h * s.w <= 16 ? DX_CONV_3_DIRECT : DX_CONV_3;
}

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
    .conv = conv_3(k, dx_resample_out(resample, s->in)),
    .time_kind = strcmp(k->c->time, "scale") ? DX_TIME_ADD : DX_TIME_SCALE, .recompute = k->c->recompute};

  DX_TRY(dx_resblock_init(&s->block, k->params, &s->packed, name, &is));
  s->out = dx_resblock_out(&s->block, s->in);
  return NULL;
}

static dx_error *add_attention(maker *k, const char *name, int64_t groups)
{
  step *const s = next(k, ATTENTION);
  const int64_t head = k->c->head_channels ? k->c->head_channels : s->in.c;

  DX_TRY(dx_attention_init(&s->attention, k->params, &s->packed, name, s->in.c, head, groups, k->c->norm_eps));
  s->attention.recompute = k->c->recompute;
  return NULL;
}

static dx_error *add_conv(maker *k, step_kind kind, const char *name, dx_conv_kind conv)
{
  step *const s = next(k, kind);

  if (kind == UP_CONV) s->out = dx_resample_out(DX_DOUBLE_SIZE, s->in);
  DX_TRY(dx_conv_init(&s->conv, k->params, &s->packed, name, conv, s->in.c, s->in.c));
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
  const dx_shape large = dx_resample_out(DX_DOUBLE_SIZE, k->m->step[k->m->steps - 1].out);
  return conv ? add_conv(k, UP_CONV, name, conv_3(k, large)) : add_block(k, name, channels_of(k, level), DX_DOUBLE_SIZE, false);
}

/* A size at which no level stands would be attention nowhere, and nobody would notice. */
static dx_error *check_attention(const config *c, const dx_model_spec *spec)
{
  const int64_t longer = spec->sample.h > spec->sample.w ? spec->sample.h : spec->sample.w;
  char sizes[128] = "";

  for (int level = 0; level < c->multipliers.n; level++)
    snprintf(sizes + strlen(sizes), sizeof sizes - strlen(sizes), "%s%lld", level ? ", " : "", (long long)(longer >> level));
  for (int i = 0; i < c->attention.n; i++) {
    bool there = c->attention.v[i] == 0;

    for (int level = 0; level < c->multipliers.n; level++) there = there || c->attention.v[i] == longer >> level;
    if (!there)
      return DX_FAIL(CONFIG, "model.attention: %lld is the size of no level; the levels' are %s, and 0 is none",
                     (long long)c->attention.v[i], sizes);
  }
  return NULL;
}

static dx_error *check(const config *c, const dx_model_spec *spec)
{
  const int64_t levels = c->multipliers.n, part = levels <= LEVELS ? (int64_t)1 << (levels - 1) : 1;

  if (levels > LEVELS) return DX_FAIL(CONFIG, "model.multipliers has %lld levels; allowed: up to %d", (long long)levels, LEVELS);
  if (spec->sample.h == 1 && spec->sample.w == 1)
    return DX_FAIL(CONFIG, "model.kind is unet, which is for images: the data are points of %lld numbers; mlp is for these",
                   (long long)spec->sample.c);
  if (spec->sample.h % part || spec->sample.w % part)
    return DX_FAIL(CONFIG, "model.multipliers has %lld levels, so height and width must be multiples of %lld: the data have %lld x %lld",
                   (long long)levels, (long long)part, (long long)spec->sample.h, (long long)spec->sample.w);
  if (c->classes && spec->classes == 0)
    return DX_FAIL(CONFIG, "model.classes is %lld, but the data have no labels", (long long)c->classes);
  if (c->classes && spec->classes > c->classes)
    return DX_FAIL(CONFIG, "model.classes is %lld, but the data have %lld classes", (long long)c->classes, (long long)spec->classes);
  return check_attention(c, spec);
}

static dx_error *build(maker *k, const dx_model_spec *spec)
{
  const config *const c = k->c;
  unet *const m = k->m;
  const int64_t channels = channels_of(k, 0);
  const dx_embedding_config is = {.sines = channels, .out = 4 * channels, .classes = c->classes,
                                  .factor = c->time_factor, .shift = c->time_shift, .cosine_first = c->time_cosine_first};
  step *const first = &m->step[m->steps++];

  *first = (step){.kind = CONV, .joined = -1, .in = spec->sample, .out = spec->sample};
  first->out.c = channels;
  DX_TRY(dx_conv_init(&first->conv, k->params, &first->packed, "conv_in", conv_3(k, spec->sample), spec->sample.c, channels));
  DX_TRY(dx_embedding_init(&m->embedding, k->params, &m->packed, &is));
  keep(k);
  for (int i = 0; i < c->multipliers.n; i++) DX_TRY(add_down(k, i));
  DX_TRY(add_middle(k));
  for (int i = (int)c->multipliers.n - 1; i >= 0; i--) DX_TRY(add_up(k, i));
  DX_TRY(dx_norm_init(&m->norm_out, k->params, "conv_norm_out", DX_NORM_SILU, m->step[m->steps - 1].out.c,
                      c->norm_groups, c->norm_eps));
  DX_TRY(dx_conv_init(&m->conv_out, k->params, &m->packed, "conv_out", conv_3(k, spec->sample), m->step[m->steps - 1].out.c,
                      spec->out_channels));
  for (int i = 0; i < m->steps && !m->recompute; i++) {
    m->step[i].packed_at = m->packed;
    m->packed += m->step[i].packed;
  }
  return NULL;
}

static dx_error *create(const void *config_, const dx_model_spec *spec, dx_params *params, void **out)
{
  DX_TRY(check(config_, spec));
  unet *const m = calloc(1, sizeof *m);
  maker k = {.c = config_, .m = m, .params = params};

  if (!m) return DX_FAIL(INTERNAL, "no memory for a model");
  m->recompute = k.c->recompute;
  dx_error *const err = build(&k, spec);
  if (err) free(m);
  else *out = m;
  return err;
}

/* ---- weights ---- */

static int64_t packed(const void *model) { return ((const unet *)model)->packed; }

static void pack_step(const step *s, const dx_pass *p, dx_pass_kind kind, float *to)
{
  if (s->kind == BLOCK) dx_resblock_pack(&s->block, p, kind, to);
  else if (s->kind == ATTENTION) dx_attention_pack(&s->attention, p, kind, to);
  else dx_conv_pack(&s->conv, p, kind, to);
}

static void pack(const void *model, const dx_kernels *k, dx_pass_kind kind, const float *w, float *packed_, int part, int parts)
{
  const unet *const m = model;
  const dx_pass p = {.kernel = k, .w = w};

  for (int i = part; i < m->steps && !m->recompute; i += parts) pack_step(&m->step[i], &p, kind, packed_ + m->step[i].packed_at);
  if (part) return;
  dx_embedding_pack(&m->embedding, k, w, packed_);
  dx_conv_pack(&m->conv_out, &p, kind, packed_);
}

/* ---- memory ---- */

/* Positions of the two passes. */
static int forward_of(int i) { return 1 + i; }
static int forward_out(const unet *m) { return 1 + m->steps; }
static int backward_out(const unet *m) { return 2 + m->steps; }
static int backward_of(const unet *m, int i) { return 2 + 2 * m->steps - i; }
static int end(const unet *m) { return 3 + 2 * m->steps; }

/* The step that joined the output of step i. */
static int joiner(const unet *m, int i)
{
  int j = i + 1;

  while (m->step[j].joined != i) j++;
  return j;
}

static void measure_out(const unet *m, int64_t B, dx_arena *a)
{
  const dx_shape last = with(m->step[m->steps - 1].out, B);

  dx_arena_floats(a, dx_shape_count(last));
  dx_norm_work(&m->norm_out, B, a);
  dx_conv_work(&m->conv_out, last, a);
}

/* Bytes of the scratch of the two passes through a step. */
static void measure(const unet *m, const step *s, int64_t B, int members, size_t *forward, size_t *backward)
{
  const dx_shape in = with(s->in, B), up = dx_resample_out(DX_DOUBLE_SIZE, in);
  dx_arena f = {.members = members}, b = f;

  if (m->recompute) dx_arena_floats(&f, s->packed);
  if (m->recompute) dx_arena_floats(&b, s->packed);
  switch (s->kind) {
  case CONV:
    dx_conv_work(&s->conv, in, &f);
    if (s->in.c == s->out.c) dx_arena_floats(&b, dx_shape_count(in)); /* a gradient that is added */
    dx_conv_work(&s->conv, in, &b);
    break;
  case BLOCK: dx_resblock_work(&s->block, in, &f, &b); break;
  case ATTENTION: dx_attention_work(&s->attention, in, &f, &b); break;
  case UP_CONV:
    dx_arena_floats(&f, dx_shape_count(up));
    dx_conv_work(&s->conv, up, &f);
    dx_arena_floats(&b, 2 * dx_shape_count(up));
    dx_conv_work(&s->conv, up, &b);
    break;
  }
  *forward = f.peak;
  *backward = b.peak;
}

/* What a step keeps of its inside. */
static void place_inside(const step *s, int64_t B, dx_arena *a, step_acts *t)
{
  if (s->kind == BLOCK) dx_resblock_place(&s->block, with(s->in, B), a, &t->block);
  if (s->kind == ATTENTION) dx_attention_place(&s->attention, with(s->in, B), a, &t->attention);
}

/* Numbers of a step's buffers in the layout; -1: there is none. */
typedef struct { int y, g, inside, forward, backward; } numbers;

/* The output lives until the last step that reads it, in training as input of a backward step; its
   gradient from the backward step that writes it first. */
static numbers add_step(const unet *m, int64_t B, bool train, dx_layout *l, int i)
{
  const step *const s = &m->step[i];
  const size_t y = (size_t)(B * dx_shape_dim(s->out)) * sizeof(float);
  const int after = i + 1 < m->steps ? forward_of(i + 1) : forward_out(m), last = s->kept ? forward_of(joiner(m, i)) : after;
  const int grad_after = i + 1 < m->steps ? backward_of(m, i + 1) : backward_out(m);
  size_t forward, backward;
  dx_arena inside = {0};
  step_acts unused;

  measure(m, s, B, l->members, &forward, &backward);
  place_inside(s, B, &inside, &unused);
  return (numbers){
    .y = dx_layout_add(l, y, forward_of(i), train ? grad_after : last),
    .g = train ? dx_layout_add(l, y, s->kept ? backward_of(m, joiner(m, i)) : grad_after, backward_of(m, i)) : -1,
    .inside = dx_layout_add(l, inside.peak, forward_of(i), train ? backward_of(m, i) : forward_of(i)),
    .forward = dx_layout_add(l, forward, forward_of(i), forward_of(i)),
    .backward = train ? dx_layout_add(l, backward, backward_of(m, i), backward_of(m, i)) : -1};
}

static void point_step(const unet *m, int64_t B, const dx_layout *l, const numbers *n, int i, step_acts *t)
{
  dx_arena inside = dx_layout_arena(l, n->inside);

  t->y = dx_layout_floats(l, n->y);
  t->g = n->g < 0 ? NULL : dx_layout_floats(l, n->g);
  t->forward = dx_layout_arena(l, n->forward);
  if (n->backward >= 0) t->backward = dx_layout_arena(l, n->backward);
  place_inside(&m->step[i], B, &inside, t);
}

/* Numbers of the buffers that belong to no step. */
typedef struct { int embedding, time, gtime, stats, out_forward, out_backward, embedding_backward; } ends;

static ends add_ends(const unet *m, int64_t B, bool train, dx_layout *l)
{
  const size_t time = (size_t)(B * m->embedding.is.out) * sizeof(float);
  const int done = train ? end(m) : forward_out(m);
  dx_embedding_acts unused;
  dx_arena embedding = {0}, back = {0}, stats = {0}, out = {.members = l->members};

  dx_embedding_place(&m->embedding, B, &embedding, &unused);
  dx_embedding_work(&m->embedding, B, &back);
  dx_norm_stats(&m->norm_out, B, &stats);
  measure_out(m, B, &out);
  return (ends){
    .embedding = dx_layout_add(l, embedding.peak, 0, done),
    .time = dx_layout_add(l, time, 0, done),
    .gtime = train ? dx_layout_add(l, time, backward_out(m), done) : -1,
    .stats = dx_layout_add(l, stats.peak, forward_out(m), train ? backward_out(m) : forward_out(m)),
    .out_forward = dx_layout_add(l, out.peak, forward_out(m), forward_out(m)),
    .out_backward = train ? dx_layout_add(l, out.peak, backward_out(m), backward_out(m)) : -1,
    .embedding_backward = train ? dx_layout_add(l, back.peak, end(m), end(m)) : -1};
}

static void point_ends(const unet *m, int64_t B, const dx_layout *l, const ends *e, bool train, acts *s)
{
  dx_arena embedding = dx_layout_arena(l, e->embedding), stats = dx_layout_arena(l, e->stats);

  dx_embedding_place(&m->embedding, B, &embedding, &s->embedding);
  s->stats_out = dx_norm_stats(&m->norm_out, B, &stats);
  s->time = dx_layout_floats(l, e->time);
  s->out_forward = dx_layout_arena(l, e->out_forward);
  if (!train) return;
  s->gtime = dx_layout_floats(l, e->gtime);
  s->out_backward = dx_layout_arena(l, e->out_backward);
  s->embedding_backward = dx_layout_arena(l, e->embedding_backward);
}

static void place(const void *model, int64_t B, dx_pass_kind kind, dx_arena *a, void *acts_)
{
  const unet *const m = model;
  acts *const s = acts_;
  const bool train = kind == DX_PASS_TRAIN;
  numbers n[STEPS];

  s->layout = (dx_layout){.members = a->members};
  const ends e = add_ends(m, B, train, &s->layout);
  for (int i = 0; i < m->steps; i++) n[i] = add_step(m, B, train, &s->layout, i);
  dx_layout_place(&s->layout, a);
  if (!s->layout.base) return;
  point_ends(m, B, &s->layout, &e, train, s);
  for (int i = 0; i < m->steps; i++) point_step(m, B, &s->layout, &n[i], i, &s->step[i]);
}

/* ---- passes ---- */

/* The pass with the scratch of one position. */
static dx_pass enter(const acts *s, const dx_pass *p, int position, dx_arena *work)
{
  dx_pass q = *p;

  q.work = work;
  dx_layout_enter(&s->layout, position);
  return q;
}

/* The pass of one step, with its packed weights; kind: what is to be done in it. */
static dx_pass enter_step(const unet *m, const acts *s, const dx_pass *p, int i, int position, dx_pass_kind kind, dx_arena *work)
{
  const step *const l = &m->step[i];
  dx_pass q = enter(s, p, position, work);

  if (!m->recompute) {
    q.packed += l->packed_at;
  } else {
    float *const own = dx_arena_floats(work, l->packed);

    pack_step(l, &q, kind, own);
    q.packed = own;
  }
  return q;
}

/* The input of step i: the output of the one before it, and beside it that of the one it joins. */
static dx_beside input(const unet *m, const acts *s, int i)
{
  const int j = m->step[i].joined;

  return (dx_beside){i ? s->step[i - 1].y : s->in, j < 0 ? NULL : s->step[j].y, i ? m->step[i - 1].out.c : m->step[0].in.c};
}

static void step_forward(const unet *m, const dx_pass *p_, int64_t B, acts *s, int i)
{
  const step *const l = &m->step[i];
  step_acts *const t = &s->step[i];
  const dx_shape in = with(l->in, B), up = dx_resample_out(DX_DOUBLE_SIZE, in);
  const dx_pass pass = enter_step(m, s, p_, i, forward_of(i), DX_PASS_INFER, &t->forward), *const p = &pass;
  const dx_beside x = input(m, s, i);
  float *large;

  switch (l->kind) {
  case CONV: dx_conv_forward(&l->conv, p, in, x.a, (dx_conv_base){0}, t->y); break;
  case BLOCK: dx_resblock_forward(&l->block, p, in, x, s->time, &t->block, t->y); break;
  case ATTENTION: dx_attention_forward(&l->attention, p, in, x.a, &t->attention, t->y); break;
  case UP_CONV:
    large = dx_arena_floats(p->work, dx_shape_count(up));
    dx_resample_forward(DX_DOUBLE_SIZE, p, in, x.a, large);
    dx_conv_forward(&l->conv, p, up, large, (dx_conv_base){0}, t->y);
    break;
  }
  dx_arena_release(p->work, 0);
}

static void out_forward(const unet *m, const dx_pass *p_, int64_t B, acts *s, float *y)
{
  const dx_shape last = with(m->step[m->steps - 1].out, B);
  const dx_pass pass = enter(s, p_, forward_out(m), &s->out_forward), *const p = &pass;
  const size_t mark = dx_arena_mark(p->work);
  float *const a = dx_arena_floats(p->work, dx_shape_count(last));

  dx_norm_forward(&m->norm_out, p, last, (dx_beside){.a = s->step[m->steps - 1].y}, (dx_norm_with){0}, s->stats_out, a);
  dx_conv_forward(&m->conv_out, p, last, a, (dx_conv_base){0}, y);
  dx_arena_release(p->work, mark);
}

static void forward(const void *model, const dx_pass *p, int64_t B, const float *x, const dx_condition *c,
                    void *acts_, float *y)
{
  const unet *const m = model;
  acts *const s = acts_;

  s->in = x;
  s->label = c->label;
  dx_layout_enter(&s->layout, 0);
  dx_embedding_forward(&m->embedding, p, B, c->time, c->label, &s->embedding, s->time);
  for (int i = 0; i < m->steps; i++) step_forward(m, p, B, s, i);
  out_forward(m, p, B, s, y);
}

static void out_backward(const unet *m, const dx_pass *p_, int64_t B, acts *s, float *gy)
{
  const dx_shape last = with(m->step[m->steps - 1].out, B);
  const dx_pass pass = enter(s, p_, backward_out(m), &s->out_backward), *const p = &pass;
  const dx_beside x = {.a = s->step[m->steps - 1].y};
  const size_t mark = dx_arena_mark(p->work);
  float *const a = dx_arena_floats(p->work, dx_shape_count(last)), *const g = s->step[m->steps - 1].g;

  dx_norm_again(&m->norm_out, p, last, x, (dx_norm_with){0}, s->stats_out, a);
  dx_conv_backward(&m->conv_out, p, last, a, gy, g, NULL);
  dx_norm_backward(&m->norm_out, p, last, x, (dx_norm_with){0}, s->stats_out, g, NULL, (dx_beside_out){.a = g}, NULL);
  dx_arena_release(p->work, mark);
}

static void up_backward(const step *l, const dx_pass *p, dx_shape in, const float *x, const float *gy, float *gx)
{
  const dx_shape up = dx_resample_out(DX_DOUBLE_SIZE, in);
  float *const large = dx_arena_floats(p->work, 2 * dx_shape_count(up)), *const gup = large + dx_shape_count(up);

  dx_resample_forward(DX_DOUBLE_SIZE, p, in, x, large);
  dx_conv_backward(&l->conv, p, up, large, gy, gup, NULL);
  dx_resample_backward(DX_DOUBLE_SIZE, p, in, gup, gx);
}

/* A convolution overwrites its gx: what is added goes through scratch. */
static void conv_backward(const step *l, const dx_pass *p, dx_shape in, const float *x, const float *gy, dx_beside_out gx)
{
  float *const g = l->in.c == l->out.c ? dx_arena_floats(p->work, dx_shape_count(in)) : NULL;

  assert(!gx.add_a || g);
  dx_conv_backward(&l->conv, p, in, x, gy, gx.add_a ? g : gx.a, NULL);
  if (gx.add_a) dx_add(p, dx_shape_count(in), gx.a, g, gx.a);
}

static void step_backward(const unet *m, const dx_pass *p_, int64_t B, acts *s, int i, dx_beside_out gx)
{
  const step *const l = &m->step[i];
  step_acts *const t = &s->step[i];
  const dx_shape in = with(l->in, B);
  const dx_pass pass = enter_step(m, s, p_, i, backward_of(m, i), DX_PASS_TRAIN, &t->backward), *const p = &pass;
  const dx_beside x = input(m, s, i);

  switch (l->kind) {
  case CONV: conv_backward(l, p, in, x.a, t->g, gx); break;
  case BLOCK: dx_resblock_backward(&l->block, p, in, x, s->time, &t->block, t->g, gx, s->gtime); break;
  case ATTENTION: dx_attention_backward(&l->attention, p, in, x.a, &t->attention, t->g, gx.add_a, gx.a); break;
  case UP_CONV: up_backward(l, p, in, x.a, t->g, gx.a); break;
  }
  dx_arena_release(p->work, 0);
}

static void backward(const void *model, const dx_pass *p, int64_t B, void *acts_, float *gy, float *gx)
{
  const unet *const m = model;
  acts *const s = acts_;
  bool written[STEPS] = {false}; /* outputs whose gradient has begun */

  out_backward(m, p, B, s, gy);
  memset(s->gtime, 0, (size_t)(B * m->embedding.is.out) * sizeof *s->gtime);
  for (int i = m->steps - 1; i >= 0; i--) {
    const int j = m->step[i].joined;
    dx_beside_out to = {.a = i ? s->step[i - 1].g : gx, .ca = i ? m->step[i - 1].out.c : 0, .add_a = i && written[i - 1]};

    if (i) written[i - 1] = true;
    if (j >= 0) {
      to.b = s->step[j].g;
      to.add_b = written[j];
      written[j] = true;
    }
    step_backward(m, p, B, s, i, to);
  }
  const dx_pass pass = enter(s, p, end(m), &s->embedding_backward);
  dx_embedding_backward(&m->embedding, &pass, B, s->label, &s->embedding, s->gtime);
}

const dx_model dx_model_unet = {
  .name = "unet", .help = "the U-Net of DDPM, with residual blocks and attention: for images",
  .options = options, .config_size = sizeof(config), .create = create, .destroy = free,
  .shares = true, .packed = packed, .pack = pack, .acts_size = sizeof(acts), .place = place,
  .forward = forward, .backward = backward,
};
