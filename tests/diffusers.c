/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of diffusers and their safetensors: a network that diffusers saved predicts the same here, is written back as it was,
   and every damage is refused by name. golden/unet2d.py made the network and its prediction. */
#include "train/diffusers.h"
#include "errors.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/safetensors.h"

enum { B = 3, PIXELS = 8 * 4, C = 3 };

static char golden[4096], work[4096];
static char *config, *weights; /* the golden folder's files */
static size_t config_size, weights_size;

static int says(dx_error *e, const char *words)
{
  const int good = e && strstr(dx_error_text(e), words) != NULL;

  if (!good) printf("# %s\n", e ? dx_error_text(e) : "no error");
  dx_error_free(e);
  return good;
}

static void write_file(const char *name, const char *bytes, size_t size)
{
  char path[8192];

  snprintf(path, sizeof path, "%s/%s", work, name);
  if (!fine(dx_file_write_atomic(path, bytes, size))) abort();
}

/* text with `from` replaced by `to`, once; malloc'd. */
static char *replaced(const char *text, const char *from, const char *to)
{
  const char *const at = strstr(text, from);
  char *const out = malloc(strlen(text) + strlen(to) + 1);

  if (!at || !out) {
    printf("Bail out! the golden folder has no %s\n", from);
    exit(1);
  }
  sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  return out;
}

/* A safetensors file of that header and data. */
static void write_weights(const char *header, const char *data, size_t size)
{
  const size_t n = strlen(header);
  char *const bytes = malloc(8 + n + size);

  for (int i = 0; i < 8; i++) bytes[i] = (char)(n >> 8 * i & 0xFF);
  memcpy(bytes + 8, header, n);
  memcpy(bytes + 8 + n, data, size);
  write_file("diffusion_pytorch_model.safetensors", bytes, 8 + n + size);
  free(bytes);
}

/* The golden file's header (malloc'd), and its data. */
static char *header_of(const char **data, size_t *size)
{
  size_t n = 0;

  for (int i = 0; i < 8; i++) n |= (size_t)(unsigned char)weights[i] << 8 * i;
  *data = weights + 8 + n;
  *size = weights_size - 8 - n;
  return strndup(weights + 8, n);
}

/* --- a network ---------------------------------------------------------------- */

typedef struct {
  dx_diffusers d;
  void *config, *model;
  dx_params params;
  dx_model_spec spec;
  float *w;
} net;

/* Settings as options again, as an experiment makes them. */
static dx_error *take_settings(const char *settings, void *into)
{
  const dx_option *const options = dx_model_find("unet")->options;
  char *const text = strdup(settings);
  dx_error *err = NULL;

  for (char *line = strtok(text, "\n"); line && !err; line = strtok(NULL, "\n")) {
    char *const colon = strchr(line, ':');
    const dx_option *o;

    *colon = '\0';
    if ((o = dx_option_find(options, line + strspn(line, " ")))) err = dx_option_read(o, colon + 2, into);
  }
  free(text);
  return err;
}

/* A folder as diffx reads it. */
static dx_error *load(const char *folder, net *t)
{
  const dx_model *const unet = dx_model_find("unet");

  *t = (net){0};
  DX_TRY(dx_diffusers_read(folder, &t->d));
  t->config = calloc(1, unet->config_size);
  dx_option_presets(unet->options, t->config);
  DX_TRY(take_settings(t->d.settings, t->config));
  t->spec = (dx_model_spec){.sample = t->d.sample, .out_channels = t->d.out_channels, .timesteps = 1000, .classes = 3};
  DX_TRY(unet->create(t->config, &t->spec, &t->params, &t->model));
  t->w = calloc((size_t)t->params.floats, sizeof *t->w);
  return dx_diffusers_read_weights(folder, &t->params, t->w);
}

static void drop(net *t)
{
  if (t->model) dx_model_find("unet")->destroy(t->model);
  dx_params_destroy(&t->params);
  dx_diffusers_free(&t->d);
  free(t->config);
  free(t->w);
}

/* Number i of the draw "x", as in golden/unet2d.py. */
static double draw(uint64_t i)
{
  uint64_t z = 14695981039346656037u;

  z = (z ^ 'x') * 1099511628211u + i * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return (double)(z >> 40) / 8388608 - 1;
}

static void predict(const net *t, float *y)
{
  const dx_model *const unet = dx_model_find("unet");
  static const float times[B] = {0, 999, 17.25f};
  static const int32_t labels[B] = {2, 0, 1};
  const dx_condition c = {.time = times, .label = labels};
  float x[B * PIXELS * C], *const packed = aligned_alloc(64, ((size_t)unet->packed(t->model) * 4 + 64) / 64 * 64);
  void *const acts = calloc(1, unet->acts_size);
  dx_arena count = {0}, arena = {0};
  dx_kernels kernels;

  for (uint64_t i = 0; i < B * PIXELS * C; i++) x[i] = (float)(1.5 * draw(i));
  dx_kernels_ref(&kernels);
  unet->pack(t->model, &kernels, DX_PASS_INFER, t->w, packed, 0, 1);
  unet->place(t->model, B, DX_PASS_INFER, &count, acts);
  if (!fine(dx_arena_create(count.peak, &arena))) abort();
  unet->place(t->model, B, DX_PASS_INFER, &arena, acts);
  const dx_pass p = {.kernel = &kernels, .w = t->w, .packed = packed, .work = &arena};
  unet->forward(t->model, &p, B, x, &c, acts, y);
  dx_arena_destroy(&arena);
  free(acts);
  free(packed);
}

static void check_prediction(const char *folder, const char *what)
{
  float y[B * PIXELS * C], *ref;
  char path[8192], *text = NULL;
  double diff = 0, norm = 0;
  size_t size = 0;
  net t;

  snprintf(path, sizeof path, "%s/prediction.bin", golden);
  int good = fine(dx_file_read(path, 1 << 20, &text, &size)) && size == sizeof y && fine(load(folder, &t));
  ref = (float *)(void *)text;
  if (good) predict(&t, y);
  for (int i = 0; good && i < B * PIXELS * C; i++) {
    diff += ((double)y[i] - (double)ref[i]) * ((double)y[i] - (double)ref[i]);
    norm += (double)ref[i] * (double)ref[i];
  }
  ok(good && norm > 0 && sqrt(diff / norm) < 1e-5, "%s: predicts as diffusers does, relative %.1e", what, sqrt(diff / norm));
  if (good) drop(&t);
  free(text);
}

/* Written and read again, every bit and every key stands as before. */
static void check_round_trip(void)
{
  char folder[8192], path[12288];
  net t, again;

  snprintf(folder, sizeof folder, "%s/out", work);
  int good = fine(load(golden, &t)) && fine(dx_diffusers_write(folder, t.config, &t.spec, &t.params, t.w, NULL)) && fine(load(folder, &again));
  ok(good && t.params.floats == again.params.floats && !memcmp(t.w, again.w, (size_t)t.params.floats * sizeof *t.w),
     "written and read again: the same weights");
  ok(good && !strcmp(t.d.settings, again.d.settings) && again.spec.sample.h == 8 && again.spec.sample.w == 4, "and the same network");
  check_prediction(folder, "written");
  ok(says(dx_diffusers_write(folder, t.config, &t.spec, &t.params, t.w, NULL), "is not empty: it is not overwritten"), "a folder with something in it");
  snprintf(path, sizeof path, "%s/out.part", work);
  ok(!dx_file_exists(path), "and nothing half-written is left");
  snprintf(path, sizeof path, "%s/config.json/no", folder);
  ok(says(dx_diffusers_write(path, t.config, &t.spec, &t.params, t.w, NULL), "config.json"), "a file in the way");
  if (good) {
    drop(&t);
    drop(&again);
  }
}

/* --- config.json -------------------------------------------------------------- */

/* text without line ends, for a line of TAP */
static const char *flat(const char *text, char line[256])
{
  snprintf(line, 256, "%s", text);
  for (char *p = line; *p; p++)
    if (*p == '\n') *p = ' ';
  return line;
}

static void refused(const char *from, const char *to, const char *words)
{
  char *const text = replaced(config, from, to);
  dx_diffusers d;
  char line[256];

  write_file("config.json", text, strlen(text));
  dx_error *const e = dx_diffusers_read(work, &d);
  if (!e) dx_diffusers_free(&d);
  ok(says(e, words), "config.json with %s", flat(to, line));
  free(text);
}

/* Another network of config.json: what its settings say. */
static void becomes(const char *from, const char *to, const char *words)
{
  char *const text = replaced(config, from, to);
  dx_diffusers d = {0};
  char line[256], other[256];

  write_file("config.json", text, strlen(text));
  const int good = fine(dx_diffusers_read(work, &d));
  if (good && !strstr(d.settings, words)) printf("# %s\n", d.settings);
  ok(good && strstr(d.settings, words), "config.json with %s: %s", flat(to, line), flat(words, other));
  dx_diffusers_free(&d);
  free(text);
}

static void check_config(void)
{
  refused("UNet2DModel", "UNet2DConditionModel", "_class_name is \"UNet2DConditionModel\"; allowed: UNet2DModel");
  refused("\"positional\"", "\"fourier\"", "config.json: time_embedding_type is \"fourier\"; allowed: positional");
  refused("\"silu\"", "\"gelu\"", "act_fn is \"gelu\"; allowed: silu");
  refused("\"center_input_sample\": false", "\"center_input_sample\": true", "center_input_sample is true; allowed: false");
  refused("\"class_embed_type\": null", "\"class_embed_type\": \"timestep\"", "class_embed_type is \"timestep\"; allowed: null");
  refused("scale_factor\": 1", "scale_factor\": 2", "mid_block_scale_factor is 2; allowed: 1");
  refused("\"time_embedding_dim\": null", "\"time_embedding_dim\": 32", "time_embedding_dim is 32; allowed: null, or four times");
  refused("\"scale_shift\"", "\"spatial\"", "resnet_time_scale_shift is \"spatial\"; allowed: default or scale_shift");
  refused("\"AttnUpBlock2D\"", "\"UpBlock2D\"", "down_block_types[1] is AttnDownBlock2D, but up_block_types[0] is UpBlock2D; allowed: attention in both");
  refused("\"AttnDownBlock2D\"", "\"SkipDownBlock2D\"", "down_block_types is [\"ResnetDownsampleBlock2D\",\"SkipDownBlock2D\"]; allowed: DownBlock2D");
  refused("\"AttnDownBlock2D\"", "\"AttnDownBlock2D\", \"DownBlock2D\"", "allowed: a list of 2, as long as block_out_channels");
  refused("\"UNetMidBlock2D\"", "\"UNetMidBlock2DCrossAttn\"", "mid_block_type is \"UNetMidBlock2DCrossAttn\"; allowed: UNetMidBlock2D or null");
  refused("\"layers_per_block\": 1", "\"layers_per_block\": 12", "layers_per_block, as model.blocks, is 12; allowed: a whole number from 1 to 8");
  refused("\"layers_per_block\": 1", "\"layers_per_block\": \"1\"", "layers_per_block is \"1\"; allowed: a whole number from 1 to 8");
  refused("\"layers_per_block\": 1", "\"layers_per_block\": null", "layers_per_block is null; allowed: a value");
  refused("\"freq_shift\": 0", "\"freq_shift\": 0.5", "freq_shift, as model.time_shift, is 0.5");
  refused("\"norm_eps\": 0.0001", "\"norm_eps\": 0", "norm_eps, as model.norm_eps, is 0; allowed: a number above 0");
  refused("\"dropout\": 0.0", "\"dropout\": 0.95", "dropout, as model.dropout, is 0.95");
  refused("\"attention_head_dim\": 4", "\"attention_head_dim\": \"all\"", "attention_head_dim is \"all\"; allowed");
  refused("    8\n  ],\n  \"center", "    0\n  ],\n  \"center", "block_out_channels is [4,0]; allowed: a list of whole numbers from 1");
  refused("\"sample_size\"", "\"sample_size\": null, \"_size\"", "sample_size is null; allowed: a whole number from 1 to 65536, or [height, width]");
  refused("\"in_channels\": 3", "\"in_channels\": \"RGB\"", "in_channels is \"RGB\"; allowed: a whole number");
  refused("\"dropout\"", "\"encoder_hid_dim\": 7, \"dropout\"", "encoder_hid_dim is 7; allowed: null (diffx does not know this key)");
  refused("\"dropout\": 0.0", "\"dropout\": 0.0, \"dropout\": 0.1", "not JSON: duplicate object key");
  refused("{", "[", "config.json:2:16: not JSON");
  becomes("\"_class_name\"", "\"encoder_hid_dim\": null, \"_class_name\"", "channels: 4\n");
  becomes("\"silu\"", "\"swish\"", "attention: [4]");
  becomes("\"attn_norm_num_groups\": 4", "\"attn_norm_num_groups\": null", "mid_norm_groups: auto");
  becomes("\"attention_head_dim\": 4,", "", "head_channels: 8");
  becomes("\"attention_head_dim\": 4", "\"attention_head_dim\": null", "head_channels: all");
  becomes("    4,\n    8\n", "    6,\n    8\n", "channels: 2\n  multipliers: [3, 4]");
  becomes("\"add_attention\": true", "\"add_attention\": false", "mid: plain");
  becomes("\"UNetMidBlock2D\"", "null", "mid: none");
  becomes("\"scale_shift\"", "\"default\"", "time: add");
  becomes("\"downsample_padding\": 1", "\"downsample_padding\": 0", "down_padding: 0");
  becomes("\"ResnetDownsampleBlock2D\"", "\"DownBlock2D\"", "down: conv\n  up: conv");
  becomes("\"ResnetDownsampleBlock2D\"", "\"UNetResDownBlock2D\"", "down: conv\n  up: conv");
  becomes("\"upsample_type\": \"conv\"", "\"upsample_type\": \"resnet\"", "down: resample\n  up: resample");
}

/* Several mistakes are told at once. */
static void check_all_told(void)
{
  char *const one = replaced(config, "\"silu\"", "\"gelu\""), *const two = replaced(one, "\"positional\"", "\"fourier\"");
  dx_diffusers d;

  write_file("config.json", two, strlen(two));
  dx_error *const e = dx_diffusers_read(work, &d);
  ok(e && strstr(dx_error_text(e), "act_fn is \"gelu\"") && strstr(dx_error_text(e), "\n") &&
     strstr(dx_error_text(e), "time_embedding_type is \"fourier\""), "two wrong keys are told at once");
  dx_error_free(e);
  free(one);
  free(two);
}

/* --- safetensors -------------------------------------------------------------- */

/* The golden weights with one change in their header, and some bytes more or less. */
static void damaged(const char *from, const char *to, int more, const char *words)
{
  const char *data;
  size_t size;
  char *const header = header_of(&data, &size), *const other = replaced(header, from, to);
  char *const longer = calloc(1, size + 64);
  net t;

  memcpy(longer, data, size);
  write_weights(other, longer, size + (size_t)more);
  ok(says(load(work, &t), words), "weights with %s%s", to, more ? " and other bytes" : "");
  drop(&t);
  free(header);
  free(other);
  free(longer);
}

static void check_length(void)
{
  char *const bytes = malloc(weights_size);
  net t;

  memcpy(bytes, weights, weights_size);
  bytes[7] = 1;
  write_file("diffusion_pytorch_model.safetensors", bytes, weights_size);
  ok(says(load(work, &t), "its header is 72057594037942"), "a header of 2^56 bytes");
  drop(&t);
  write_file("diffusion_pytorch_model.safetensors", weights, 5);
  ok(says(load(work, &t), "has 5 bytes; a safetensors file begins with the 8"), "a file of 5 bytes");
  drop(&t);
  write_file("diffusion_pytorch_model.safetensors", weights, 1000);
  ok(says(load(work, &t), "what the file has behind them"), "a file that ends in its header");
  drop(&t);
  write_file("diffusion_pytorch_model.safetensors", weights, weights_size - 4);
  ok(says(load(work, &t), "bytes behind the header"), "a file that ends four bytes early");
  drop(&t);
  free(bytes);
}

static void check_weights(void)
{
  write_file("config.json", config, config_size);
  check_length();
  damaged("{", "(", 0, "its header:1:1: not JSON");
  damaged("{", "[{", 0, "not JSON");
  damaged("\"conv_in.bias\":{\"dtype\":\"F32\"", "\"conv_in.bias\":{\"type\":\"F32\"", 0, "conv_in.bias has no dtype");
  damaged("\"conv_in.bias\":{\"dtype\":\"F32\"", "\"conv_in.bias\":{\"dtype\":\"F33\"", 0, "conv_in.bias has type F33; allowed: F32, F16, BF16");
  damaged("\"conv_in.bias\":{\"dtype\":\"F32\"", "\"conv_in.bias\":{\"dtype\":\"I32\"", 0, "conv_in.bias has type I32; allowed: F32, F16, BF16");
  damaged("\"conv_in.bias\":{\"dtype\":\"F32\"", "\"conv_in.bias\":{\"dtype\":\"F64\"", 0, "conv_in.bias fills 16 bytes; its shape [4] of F64");
  damaged("\"conv_in.bias\":{\"dtype\":\"F32\"", "\"conv_in.bias\":{\"dtype\":\"F16\"", 0, "conv_in.bias fills 16 bytes; its shape [4] of F16");
  damaged("[192,208]", "[192,99999999]", 0, "conv_in.bias stands at bytes 192 to 99999999 of the data; allowed: within 0 to ");
  damaged("[192,208]", "[208,192]", 0, "conv_in.bias stands at bytes 208 to 192");
  damaged("[192,208]", "[-16,0]", 0, "conv_in.bias stands at bytes -16 to 0");
  damaged("[192,208]", "[192]", 0, "conv_in.bias has data_offsets [192]; allowed: two whole numbers");
  damaged("[192,208]", "\"192\"", 0, "conv_in.bias has data_offsets \"192\"");
  damaged("[192,208]", "[176,192]", 0, "conv_in.bias begins at byte 176 of the data, within class_embedding.weight, which ends at 192");
  damaged("[208,640]", "[212,644]", 0, "bytes 208 to 212 of the data, before conv_in.weight, belong to no tensor");
  damaged("{", "{", 12, "the last 12 of ");
  damaged("\"shape\":[4,3,3,3]", "\"shape\":[4,3,3]", 0, "conv_in.weight fills 432 bytes; its shape [4, 3, 3] of F32");
  damaged("\"shape\":[4,3,3,3]", "\"shape\":[3,4,3,3]", 0, "conv_in.weight is [3, 4, 3, 3]; the network of config.json has [4, 3, 3, 3]");
  damaged("\"shape\":[4,3,3,3]", "\"shape\":[4,3,3,-3]", 0, "conv_in.weight has the shape [4,3,3,-3]");
  damaged("\"shape\":[4,3,3,3]", "\"shape\":[9223372036854775807,4]", 0, "conv_in.weight has the shape [9223372036854775807,4]");
  damaged("\"conv_in.bias\"", "\"conv_in.mass\"", 0, "conv_in.bias is missing; the network of config.json has it, [4]");
  damaged("\"conv_in.bias\"", "\"conv_in.mass\"", 0, "conv_in.mass [4] is left over");
  damaged("\"conv_in.bias\"", "\"conv_in.weight\"", 0, "duplicate object key");
}

/* Names before diffusers 0.15 are known. */
static void check_old_names(void)
{
  static const char *const names[][2] = {{"to_q.w", "query.w"}, {"to_k.w", "key.w"}, {"to_v.w", "value.w"}, {"to_out.0.w", "proj_attn.w"},
                                         {"to_q.b", "query.b"}, {"to_k.b", "key.b"}, {"to_v.b", "value.b"}, {"to_out.0.b", "proj_attn.b"}};
  const char *data;
  size_t size;
  char *header = header_of(&data, &size);

  for (int i = 0; i < 8; i++) {
    char *const next = replaced(header, names[i][0], names[i][1]);

    free(header);
    header = next;
  }
  write_weights(header, data, size);
  free(header);
  check_prediction(work, "attention's old names");
}

/* F16 and BF16 become float32 exactly; what is not finite is refused. */
static void check_halves(void)
{
  static const char header[] = "{\"h\":{\"dtype\":\"F16\",\"shape\":[2,4],\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[16,22]},"
                               "\"bad\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[22,26]}}";
  static const uint16_t words[] = {0x3C00, 0xC000, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0x3555, 0x8000, 0x3F80, 0xC049, 0x0001, 0x0000, 0xFC00};
  static const float want[] = {1, -2, 0x1p-24f, 0x1.ff8p-15f, 0x1p-14f, 65504, 0x1.554p-2f, -0.0f, 1, -3.140625f, 0x1p-133f};
  float got[11] = {0};
  char path[8192];
  dx_safetensors f;

  write_weights(header, (const char *)words, sizeof words);
  snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", work);
  if (!fine(dx_safetensors_read(path, &f))) abort();
  ok(fine(dx_safetensors_floats(&f, dx_safetensors_find(&f, "h"), got)) && fine(dx_safetensors_floats(&f, dx_safetensors_find(&f, "b"), got + 8)) &&
     !memcmp(got, want, sizeof want), "F16 and BF16 are taken exactly");
  ok(says(dx_safetensors_floats(&f, dx_safetensors_find(&f, "bad"), got), "bad has -inf at place 1"), "an infinity is refused");
  ok(!dx_safetensors_find(&f, "nothing"), "a tensor that is not there");
  dx_safetensors_free(&f);
}

/* Folders that lack a file say what to do. */
static void check_folders(void)
{
  char path[8192];
  net t;

  snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", work);
  unlink(path);
  ok(says(load(work, &t), "cannot read"), "a folder without weights");
  drop(&t);
  write_file("diffusion_pytorch_model.bin", "", 0);
  ok(says(load(work, &t), "diffusion_pytorch_model.bin, which is Python's pickle; allowed: one diffusion_pytorch_model.safetensors"), "a pickle");
  drop(&t);
  snprintf(path, sizeof path, "%s/config.json", work);
  unlink(path);
  ok(says(load(work, &t), "cannot read"), "a folder without config.json");
  write_file("model_index.json", "{}", 2);
  ok(says(load(work, &t), "is a whole pipeline; allowed: the folder of its network, such as"), "a pipeline");
}

int main(void)
{
  char path[8192];

#ifndef DX_JANSSON
  printf("1..0 # SKIP built without jansson\n");
  return 0;
#endif
  snprintf(work, sizeof work, "%s/diffx-test.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (!mkdtemp(work) || !fine(dx_blis_start(NULL))) return 1;
  snprintf(golden, sizeof golden, "%s/tests/golden/unet2d", getenv("srcdir") ? getenv("srcdir") : ".");
  snprintf(path, sizeof path, "%s/config.json", golden);
  if (!fine(dx_file_read(path, 1 << 20, &config, &config_size))) return 1;
  snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", golden);
  if (!fine(dx_file_read(path, 1 << 20, &weights, &weights_size))) return 1;
  check_prediction(golden, "golden/unet2d");
  check_round_trip();
  check_config();
  check_all_told();
  check_weights();
  check_old_names();
  check_halves();
  check_folders();
  snprintf(path, sizeof path, "rm -rf '%s'", work);
  ok(system(path) == 0, "and away with it");
  free(config);
  free(weights);
  return done();
}
