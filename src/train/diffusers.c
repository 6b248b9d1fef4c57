/* SPDX-License-Identifier: Apache-2.0 */
/* train/diffusers.c - see diffusers.h. The weights are in diffusers_weights.c, the process in diffusers_scheduler.c.

   Keys of config.json and options of model.unet are matched in three ways: rows[] pairs those with the same meaning,
   fixed[] holds what diffx has one value of, and the shape of the network (channels, levels, attention) is worked out. A
   key that config.json leaves out has diffusers' preset. Every other key is refused unless it is null: a key that this
   file does not know may change the network. */
#include "train/diffusers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "io/file.h"
#include "io/json.h"

enum { LEVELS_MOST = DX_INTS_MAX };

static const char config_name[] = "config.json";

/* Numbers and booleans that mean the same. preset: diffusers' own, NULL for null; null: what null is with us, NULL where it
   is not allowed. */
static const struct row { const char *theirs, *ours, *preset, *null; } rows[] = {
  {"layers_per_block", "blocks", "2", NULL},
  {"dropout", "dropout", "0", NULL},
  {"norm_num_groups", "norm_groups", "32", NULL},
  {"norm_eps", "norm_eps", "1e-5", NULL},
  {"attn_norm_num_groups", "mid_norm_groups", NULL, "auto"},
  {"attention_head_dim", "head_channels", "8", "all"},
  {"freq_shift", "time_shift", "0", NULL},
  {"flip_sin_to_cos", "time_cosine_first", "true", NULL},
  {"downsample_padding", "down_padding", "1", NULL},
  {"num_class_embeds", "classes", NULL, "0"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const dx_model *unet(void) { return dx_model_find("unet"); }

/* Where an option of model.unet stands in its config. */
static const void *field(const void *config, const char *key)
{
  return (const char *)config + dx_option_find(unet()->options, key)->at;
}

static int64_t whole(const void *config, const char *key) { return *(const int64_t *)field(config, key); }
static const dx_ints *list(const void *config, const char *key) { return field(config, key); }
static bool is(const void *config, const char *key, const char *word) { return !strcmp(field(config, key), word); }

static int64_t longer_side(dx_shape s) { return s.h > s.w ? s.h : s.w; }

/* --- writing ---------------------------------------------------------------- */

static bool attends(const void *config, dx_shape sample, int level)
{
  const dx_ints *const a = list(config, "attention");

  for (int i = 0; i < a->n; i++)
    if (a->v[i] == longer_side(sample) >> level) return true;
  return false;
}

static void put_blocks(FILE *to, const void *config, dx_shape sample, bool down)
{
  const bool conv = is(config, down ? "down" : "up", "conv");
  const int n = (int)list(config, "multipliers")->n;

  fprintf(to, "  \"%s_block_types\": [", down ? "down" : "up");
  for (int i = 0; i < n; i++) {
    const bool attention = attends(config, sample, down ? i : n - 1 - i);
    const char *const name = down ? attention ? "AttnDownBlock2D" : conv ? "DownBlock2D" : "ResnetDownsampleBlock2D"
                                  : attention ? "AttnUpBlock2D" : conv ? "UpBlock2D" : "ResnetUpsampleBlock2D";

    fprintf(to, "%s\"%s\"", i ? ", " : "", name);
  }
  fprintf(to, "],\n  \"%ssample_type\": \"%s\",\n", down ? "down" : "up", conv ? "conv" : "resnet");
}

/* A network to be described. */
typedef struct { const void *config; const dx_model_spec *spec; } network;

static void put_config(FILE *to, const void *ctx)
{
  const network *const n = ctx;
  const void *const config = n->config;
  const dx_model_spec *const spec = n->spec;
  const dx_ints *const m = list(config, "multipliers");
  const dx_shape s = spec->sample;
  char text[64];

  fprintf(to, "{\n  \"_class_name\": \"UNet2DModel\",\n  \"_written_by\": \"diffx %s\",\n", dx_version());
  if (s.h == s.w) fprintf(to, "  \"sample_size\": %" PRId64 ",\n", s.h);
  else fprintf(to, "  \"sample_size\": [%" PRId64 ", %" PRId64 "],\n", s.h, s.w);
  fprintf(to, "  \"in_channels\": %" PRId64 ",\n  \"out_channels\": %" PRId64 ",\n", s.c, spec->out_channels);
  fprintf(to, "  \"block_out_channels\": [");
  for (int i = 0; i < m->n; i++) fprintf(to, "%s%" PRId64, i ? ", " : "", whole(config, "channels") * m->v[i]);
  fprintf(to, "],\n");
  put_blocks(to, config, s, true);
  put_blocks(to, config, s, false);
  fprintf(to, "  \"mid_block_type\": %s,\n", is(config, "mid", "none") ? "null" : "\"UNetMidBlock2D\"");
  fprintf(to, "  \"add_attention\": %s,\n", is(config, "mid", "plain") ? "false" : "true");
  fprintf(to, "  \"resnet_time_scale_shift\": \"%s\",\n", is(config, "time", "scale") ? "scale_shift" : "default");
  for (int i = 0; i < ROWS; i++) {
    dx_option_print(dx_option_find(unet()->options, rows[i].ours), config, text, sizeof text);
    fprintf(to, "  \"%s\": %s,\n", rows[i].theirs, rows[i].null && !strcmp(text, rows[i].null) ? "null" : text);
  }
  fprintf(to, "  \"act_fn\": \"silu\",\n  \"center_input_sample\": false,\n  \"class_embed_type\": null,\n"
              "  \"mid_block_scale_factor\": 1,\n  \"time_embedding_dim\": null,\n  \"time_embedding_type\": \"positional\"\n}\n");
}

static dx_error *write_text(const char *path, void (*put)(FILE *to, const void *ctx), const void *ctx)
{
  char *text = NULL;
  size_t size = 0;
  FILE *const to = open_memstream(&text, &size);
  dx_error *err;

  if (to) put(to, ctx);
  err = to && !fclose(to) ? dx_file_write_atomic(path, text, size) : DX_FAIL(INTERNAL, "no memory for %s", path);
  free(text);
  return err;
}

enum { CONFIG, WEIGHTS, INDEX, FOLDER, SCHEDULER, PARTS };

static dx_error *write_parts(char path[PARTS][4200], const network *n, const dx_params *p, const float *w,
                             const dx_diffusers_scheduler *scheduler)
{
  DX_TRY(write_text(path[CONFIG], put_config, n));
  DX_TRY(dx_diffusers_write_weights(path[WEIGHTS], p, w));
  if (!scheduler) return NULL;
  DX_TRY(dx_folder_make(path[FOLDER]));
  DX_TRY(write_text(path[SCHEDULER], dx_diffusers_put_scheduler, scheduler));
  return scheduler->pipeline ? write_text(path[INDEX], dx_diffusers_put_index, NULL) : NULL;
}

dx_error *dx_diffusers_write(const char *folder, const void *config, const dx_model_spec *spec, const dx_params *p,
                             const float *w, const dx_diffusers_scheduler *scheduler)
{
  const char *const name[PARTS] = {config_name, dx_diffusers_weights_name, "model_index.json", "scheduler", "scheduler/scheduler_config.json"};
  const network net = {config, spec};
  char part[4096], path[PARTS][4200];
  dx_error *err;

  if (*(const double *)field(config, "time_factor") != 1)
    return DX_FAIL(CONFIG, "model.time_factor is %g, which UNet2DModel has no word for; allowed in a model that is exported: 1",
                   *(const double *)field(config, "time_factor"));
  DX_TRY(dx_folder_begin(folder, sizeof part, part));
  for (int i = 0; i < PARTS; i++) snprintf(path[i], sizeof path[i], "%s/%s", part, name[i]);
  err = write_parts(path, &net, p, w, scheduler);
  if (!err) err = dx_folder_publish(part, folder);
  for (int i = PARTS - 1; err && i >= 0; i--) remove(path[i]); /* what is in a folder before it */
  if (err) rmdir(part);
  return err;
}

/* --- reading ---------------------------------------------------------------- */

void dx_diffusers_free(dx_diffusers *d)
{
  free(d->settings);
  *d = (dx_diffusers){0};
}

#ifndef DX_JANSSON
dx_error *dx_diffusers_read(const char *folder, dx_diffusers *out)
{
  (void)out;
  return DX_FAIL(USAGE, "%s cannot be read: this diffx was built without jansson", folder);
}

#else

/* A config that is being read into one of ours. */
typedef struct {
  const char *path;
  const dx_json *json;
  void *config;
  int levels;
  int64_t channels[LEVELS_MOST];
  bool attention[LEVELS_MOST];
  dx_error *wrong; /* all that was found, a line each */
  int wrongs;
} reader;

static void complain(reader *r, dx_error *e)
{
  dx_error *const both = r->wrong && e ? DX_FAIL(DATA, "%s\n%s", dx_error_text(r->wrong), dx_error_text(e)) : NULL;

  if (!e) return;
  r->wrongs++;
  if (both) {
    dx_error_free(r->wrong);
    dx_error_free(e);
  }
  r->wrong = both ? both : e;
}

/* config.json: KEY is FOUND; allowed: words. */
static void refuse(reader *r, const char *key, const char *allowed)
{
  const dx_json *const v = dx_json_at(r->json, key);
  char shown[DX_SHOWN];

  complain(r, DX_FAIL(DATA, "%s: %s is %s; allowed: %s", r->path, key, v ? dx_json_show(v, shown) : "missing", allowed));
}

/* An option of ours gets text; what it refuses is told under their key. */
static void set(reader *r, const char *theirs, const char *ours, const char *text)
{
  dx_error *const e = dx_option_read(dx_option_find(unet()->options, ours), text, r->config);

  if (e) complain(r, DX_FAIL(DATA, "%s: %s, as model.%s, %s", r->path, theirs, ours, dx_error_text(e)));
  dx_error_free(e);
}

static void read_row(reader *r, const struct row *row)
{
  const dx_json *const v = dx_json_at(r->json, row->theirs);
  char text[64], allowed[256];
  int64_t n;
  double x;
  bool b;

  if (v ? dx_json_is_null(v) : !row->preset) {
    if (row->null) set(r, row->theirs, row->ours, row->null);
    else refuse(r, row->theirs, "a value");
    return;
  }
  if (!v) snprintf(text, sizeof text, "%s", row->preset);
  else if (dx_json_int(v, &n)) snprintf(text, sizeof text, "%" PRId64, n);
  else if (dx_json_real(v, &x)) dx_real_print(x, text, sizeof text);
  else if (dx_json_bool(v, &b)) snprintf(text, sizeof text, "%s", b ? "true" : "false");
  else {
    dx_option_allowed(dx_option_find(unet()->options, row->ours), allowed, sizeof allowed);
    refuse(r, row->theirs, allowed);
    return;
  }
  set(r, row->theirs, row->ours, text);
}

/* A key with words: which of them, the first where it is missing; told and -1 where it is another. */
static int read_word(reader *r, const char *key, const char *const *words, const char *allowed)
{
  const dx_json *const v = dx_json_at(r->json, key);
  const char *const text = v ? dx_json_text(v) : words[0];

  for (int i = 0; text && words[i]; i++)
    if (!strcmp(words[i], text)) return i;
  refuse(r, key, allowed);
  return -1;
}

static bool is_missing_or_null(const reader *r, const char *key)
{
  const dx_json *const v = dx_json_at(r->json, key);

  return !v || dx_json_is_null(v);
}

/* What diffx has one value of. */
static void read_fixed(reader *r)
{
  static const char *const silu[] = {"silu", "swish", NULL}, *const positional[] = {"positional", NULL};
  const dx_json *v = dx_json_at(r->json, "center_input_sample");
  int64_t n;
  double x;
  bool b;

  read_word(r, "act_fn", silu, "silu (or swish, its other name)");
  read_word(r, "time_embedding_type", positional, "positional");
  if (v && (!dx_json_bool(v, &b) || b)) refuse(r, "center_input_sample", "false");
  if (!is_missing_or_null(r, "class_embed_type")) refuse(r, "class_embed_type", "null (classes are num_class_embeds)");
  v = dx_json_at(r->json, "mid_block_scale_factor");
  if (v && (!dx_json_real(v, &x) || x != 1)) refuse(r, "mid_block_scale_factor", "1");
  v = dx_json_at(r->json, "time_embedding_dim");
  if (!is_missing_or_null(r, "time_embedding_dim") && (!dx_json_int(v, &n) || n != 4 * r->channels[0]))
    refuse(r, "time_embedding_dim", "null, or four times the first of block_out_channels");
}

static void read_words(reader *r)
{
  static const char *const times[] = {"default", "scale_shift", NULL}, *const middles[] = {"UNetMidBlock2D", NULL};
  const dx_json *const add = dx_json_at(r->json, "add_attention"), *const mid = dx_json_at(r->json, "mid_block_type");
  const int time = read_word(r, "resnet_time_scale_shift", times, "default or scale_shift");
  bool attention = true;

  set(r, "resnet_time_scale_shift", "time", time == 1 ? "scale" : "add");
  if (add && !dx_json_bool(add, &attention)) refuse(r, "add_attention", "true or false");
  if (mid && dx_json_is_null(mid)) set(r, "mid_block_type", "mid", "none");
  else if (read_word(r, "mid_block_type", middles, "UNetMidBlock2D or null") == 0)
    set(r, "mid_block_type", "mid", attention ? "attention" : "plain");
}

static int64_t divisor(int64_t a, int64_t b) { return b ? divisor(b, a % b) : a; }

/* block_out_channels as multiples of the first, or else of what divides them all. */
static void read_channels(reader *r)
{
  static const int64_t preset[] = {224, 448, 672, 896};
  const dx_json *const v = dx_json_at(r->json, "block_out_channels");
  bool good = !v || (dx_json_is_list(v) && dx_json_count(v) >= 1 && dx_json_count(v) <= LEVELS_MOST);
  int64_t unit = 0;
  char text[32 * LEVELS_MOST + 2] = "";

  r->levels = good ? v ? (int)dx_json_count(v) : 4 : 0;
  for (int i = 0; i < r->levels; i++) {
    if (!v) r->channels[i] = preset[i];
    else good = good && dx_json_int(dx_json_item(v, i), &r->channels[i]) && r->channels[i] >= 1;
    unit = good ? divisor(r->channels[i], unit) : 0;
  }
  if (!good) {
    r->levels = 0;
    refuse(r, "block_out_channels", "a list of whole numbers from 1");
    return;
  }
  for (int i = 0; i < r->levels; i++)
    snprintf(text + strlen(text), 32, "%s%" PRId64, i ? ", " : "[", r->channels[i] / unit);
  strcat(text, "]");
  set(r, "block_out_channels", "multipliers", text);
  snprintf(text, sizeof text, "%" PRId64, unit);
  set(r, "block_out_channels", "channels", text);
}

/* Names of blocks on one way: without attention by convolution and by resampling, and with attention. */
typedef struct { const char *key, *conv, *resnet, *attention, *type, *ours; const char *preset[4]; } way;

static const way down = {"down_block_types", "DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D", "downsample_type", "down",
                         {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"}};
static const way up = {"up_block_types", "UpBlock2D", "ResnetUpsampleBlock2D", "AttnUpBlock2D", "upsample_type", "up",
                       {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"}};

static const char *block_name(const reader *r, const way *w, int i)
{
  const dx_json *const v = dx_json_at(r->json, w->key);
  const char *const name = v ? dx_json_text(dx_json_item(v, i)) : w->preset[i];

  return name && !strncmp(name, "UNetRes", 7) ? name + 7 : name; /* the first diffusers' prefix, which the later ones drop, too */
}

/* One way's blocks: which have attention, and how all of them change the size. Places count from the finest level down, or
   from the coarsest up. */
static void read_way(reader *r, const way *w, bool attention[LEVELS_MOST])
{
  static const char *const kinds[] = {"conv", "resnet", NULL};
  const dx_json *const v = dx_json_at(r->json, w->key);
  const int n = v ? (int)dx_json_count(v) : 4, type = read_word(r, w->type, kinds, "conv or resnet");
  int all = -1;
  char allowed[128];

  if (n != r->levels || (v && !dx_json_is_list(v))) {
    snprintf(allowed, sizeof allowed, "a list of %d, as long as block_out_channels", r->levels);
    refuse(r, w->key, allowed);
    return;
  }
  snprintf(allowed, sizeof allowed, "%s, %s, %s", w->conv, w->attention, w->resnet);
  for (int i = 0; i < n; i++) {
    const char *const name = block_name(r, w, i);
    int kind;

    attention[i] = name && !strcmp(name, w->attention);
    if (attention[i]) kind = type;
    else if (name && !strcmp(name, w->conv)) kind = 0;
    else if (name && !strcmp(name, w->resnet)) kind = 1;
    else {
      refuse(r, w->key, allowed);
      return;
    }
    if (i == n - 1 || kind == all || kind < 0) continue; /* the last one keeps the size */
    if (all >= 0)
      complain(r, DX_FAIL(DATA, "%s: %s and %s change the size by convolution and by resampling; allowed: one of them at all levels",
                          r->path, w->key, w->type));
    all = kind;
  }
  set(r, w->type, w->ours, all == 1 ? "resample" : "conv");
}

/* sample_size and channels, and the sizes at which there is attention. */
static void read_sample(reader *r, dx_diffusers *out)
{
  const dx_json *const v = dx_json_at(r->json, "sample_size");
  const bool pair = v && dx_json_is_list(v) && dx_json_count(v) == 2;
  dx_shape *const s = &out->sample;
  char text[32 * LEVELS_MOST + 2] = "[0";

  *s = (dx_shape){.b = 1, .c = 3};
  out->out_channels = 3;
  if (!dx_json_int(pair ? dx_json_item(v, 0) : v, &s->h) || !dx_json_int(pair ? dx_json_item(v, 1) : v, &s->w) || s->h < 1 ||
      s->w < 1 || s->h > 65536 || s->w > 65536) {
    refuse(r, "sample_size", "a whole number from 1 to 65536, or [height, width]");
    return;
  }
  if (dx_json_at(r->json, "in_channels") && (!dx_json_int(dx_json_at(r->json, "in_channels"), &s->c) || s->c < 1 || s->c > 4096))
    refuse(r, "in_channels", "a whole number from 1 to 4096");
  if (dx_json_at(r->json, "out_channels") && (!dx_json_int(dx_json_at(r->json, "out_channels"), &out->out_channels) ||
                                              out->out_channels < 1 || out->out_channels > 4096))
    refuse(r, "out_channels", "a whole number from 1 to 4096");
  if (!dx_shape_is_sample(*s) || !dx_shape_is_sample((dx_shape){1, s->h, s->w, out->out_channels}))
    refuse(r, "sample_size", "fewer than 2^31 numbers in an image, with in_channels and out_channels");
  for (int i = 0; i < r->levels; i++) {
    const bool first = !strcmp(text, "[0");

    if (r->attention[i])
      snprintf(first ? text : text + strlen(text), 32, "%s%" PRId64, first ? "[" : ", ", longer_side(*s) >> i);
  }
  strcat(text, "]");
  set(r, "down_block_types", "attention", text);
}

/* Both ways; a level has attention on both or on none. */
static void read_blocks(reader *r)
{
  bool rising[LEVELS_MOST] = {false};
  const int before = r->wrongs;

  read_way(r, &down, r->attention);
  read_way(r, &up, rising);
  if (r->wrongs != before) return;
  for (int i = 0; i < r->levels; i++)
    if (r->attention[i] != rising[r->levels - 1 - i])
      complain(r, DX_FAIL(DATA, "%s: down_block_types[%d] is %s, but up_block_types[%d] is %s; allowed: attention in both or in none, "
                          "as they are of one level", r->path, i, block_name(r, &down, i), r->levels - 1 - i,
                          block_name(r, &up, r->levels - 1 - i)));
}

static bool is_known(const char *key)
{
  static const char *const others[] = {
    "sample_size", "in_channels", "out_channels", "block_out_channels", "down_block_types", "up_block_types", "mid_block_type",
    "add_attention", "downsample_type", "upsample_type", "resnet_time_scale_shift", "act_fn", "time_embedding_type",
    "center_input_sample", "class_embed_type", "mid_block_scale_factor", "time_embedding_dim",
    "num_train_timesteps", /* of a learned embedding of the time, which is refused */
  };

  for (int i = 0; i < ROWS; i++)
    if (!strcmp(key, rows[i].theirs)) return true;
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (!strcmp(key, others[i])) return true;
  return *key == '_';
}

static void read_all(reader *r, dx_diffusers *out)
{
  static const char *const name[] = {"UNet2DModel", NULL};
  const dx_json *v;
  const char *key;

  if (read_word(r, "_class_name", name, "UNet2DModel")) return; /* nothing else of it need be looked at */
  for (void *at = NULL; (at = dx_json_next(r->json, at, &key, &v));)
    if (!is_known(key) && !dx_json_is_null(v)) refuse(r, key, "null (diffx does not know this key)");
  for (int i = 0; i < ROWS; i++) read_row(r, &rows[i]);
  read_channels(r);
  read_fixed(r);
  read_words(r);
  read_blocks(r);
  read_sample(r, out);
}

static dx_error *print_settings(const void *config, char **out)
{
  size_t size = 0;
  FILE *const to = open_memstream(out, &size);

  if (!to) return DX_FAIL(INTERNAL, "no memory for settings");
  fprintf(to, "model:\n  kind: unet\n");
  for (const dx_option *o = unet()->options; o->key; o++) {
    char text[512];

    dx_option_print(o, config, text, sizeof text);
    fprintf(to, "  %s: %s\n", o->key, text);
  }
  return fclose(to) ? DX_FAIL(INTERNAL, "no memory for settings") : NULL;
}

dx_error *dx_diffusers_read(const char *folder, dx_diffusers *out)
{
  char path[4096], *text = NULL;
  dx_json *json = NULL;
  reader r = {.path = path};
  size_t size;
  dx_error *err;

  *out = (dx_diffusers){0};
  snprintf(path, sizeof path, "%s/%s", folder, config_name);
  if (!dx_file_exists(path) && dx_folder_has(folder, "model_index.json"))
    return DX_FAIL(DATA, "%s is a whole pipeline; allowed: the folder of its network, such as %s/unet", folder, folder);
  DX_TRY(dx_file_read(path, 1 << 20, &text, &size));
  DX_TRY_GOTO(err, out, dx_json_parse(path, text, size, &json));
  r.json = json;
  if (!(r.config = calloc(1, unet()->config_size))) {
    err = DX_FAIL(INTERNAL, "no memory for a model");
    goto out;
  }
  dx_option_presets(unet()->options, r.config);
  read_all(&r, out);
  err = r.wrong ? r.wrong : print_settings(r.config, &out->settings);
out:
  free(r.config);
  free(text);
  dx_json_free(json);
  if (err) dx_diffusers_free(out);
  return err;
}
#endif
