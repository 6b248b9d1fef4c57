/* SPDX-License-Identifier: Apache-2.0 */
/* The U-Net against diffusers' UNet2DModel: prediction, gradients of the input and of every parameter.
   Alone: on golden/unet.bin (golden/unet.py made it and says how it is laid out); else on the file that is named. */
#include "nn/model.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const char *name)
{
  uint64_t h = 14695981039346656037u;

  for (; *name; name++) h = (h ^ (unsigned char)*name) * 1099511628211u;
  return h;
}

/* Number i of the draw of that name: golden/unet.py has the same. */
static double draw(uint64_t h, int64_t i)
{
  uint64_t z = h + (uint64_t)i * 0x9E3779B97F4A7C15u;

  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return (double)(z >> 40) / 8388608 - 1;
}

static void fill(const char *name, int64_t n, double scale, double shift, float *x)
{
  const uint64_t h = hash_of(name);

  for (int64_t i = 0; i < n; i++) x[i] = (float)(shift + scale * draw(h, i));
}

static void start(const dx_param_entry *e, float *w)
{
  const int64_t n = e->where.n;
  const char *const end = e->name + strlen(e->name) - 2;

  if (e->dims > 1) fill(e->name, n, sqrt(3 * (double)e->dim[0] / (double)n), 0, w + e->where.at);
  else if (!strcmp(end, ".w")) fill(e->name, n, 0.5, 1, w + e->where.at);
  else fill(e->name, n, 0.25, 0, w + e->where.at);
}

/* One network of the file, and what it gave. */
typedef struct {
  char name[64];
  void *config, *model, *acts;
  int64_t B, in, out;
  dx_params params;
  dx_arena arena;
  float *w, *gw, *packed, *x, *y, *c, *gx, *again;
} net;

static const dx_model *kind;
static dx_kernels kernels;
static const float times[] = {0, 999, 17};
static const int32_t labels[] = {2, 0, 2};

static float *floats(int64_t n) { return calloc((size_t)n, sizeof(float)); }

static void place(net *t, dx_pass_kind pass)
{
  dx_arena count = {0};

  dx_arena_destroy(&t->arena);
  kind->place(t->model, t->B, pass, &count, t->acts);
  if (dx_arena_create(count.peak, &t->arena)) abort();
  kind->place(t->model, t->B, pass, &t->arena, t->acts);
}

static int run(net *t, const char *line)
{
  long long B, H, W, C, out, classes;

  if (sscanf(line, "shape %lld %lld %lld %lld %lld %lld", &B, &H, &W, &C, &out, &classes) != 6) return 0;
  const dx_model_spec spec = {.sample = {1, H, W, C}, .out_channels = out, .timesteps = 1000, .classes = classes};
  dx_error *const err = kind->create(t->config, &spec, &t->params, &t->model);
  if (err) printf("# %s\n", dx_error_text(err));
  if (err) return 0;
  t->B = B, t->in = B * H * W * C, t->out = B * H * W * out;
  t->acts = calloc(1, kind->acts_size);
  t->w = floats(t->params.floats), t->gw = floats(t->params.floats), t->packed = floats(kind->packed(t->model));
  t->x = floats(t->in), t->gx = floats(t->in);
  t->y = floats(t->out), t->c = floats(t->out), t->again = floats(t->out);
  for (int64_t i = 0; i < t->params.count; i++) start(&t->params.entry[i], t->w);
  fill("x", t->in, 1.5, 0, t->x);
  fill("c", t->out, 1, 0, t->c);

  const dx_condition c = {.time = times, .label = labels};
  kind->pack(t->model, &kernels, DX_PASS_TRAIN, t->w, t->packed, 0, 2);
  kind->pack(t->model, &kernels, DX_PASS_TRAIN, t->w, t->packed, 1, 2);
  place(t, DX_PASS_INFER);
  dx_pass p = {.kernel = &kernels, .w = t->w, .packed = t->packed, .gw = t->gw, .work = &t->arena};
  kind->forward(t->model, &p, t->B, t->x, &c, t->acts, t->again);
  place(t, DX_PASS_TRAIN);
  kind->forward(t->model, &p, t->B, t->x, &c, t->acts, t->y);
  ok(!memcmp(t->y, t->again, (size_t)t->out * sizeof *t->y), "%s: inference and training predict the same bits", t->name);
  kind->backward(t->model, &p, t->B, t->acts, t->c, t->gx);
  return 1;
}

static void drop(net *t)
{
  float *const all[] = {t->w, t->gw, t->packed, t->x, t->y, t->c, t->gx, t->again};

  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  if (t->model) kind->destroy(t->model);
  dx_params_destroy(&t->params);
  dx_arena_destroy(&t->arena);
  free(t->acts);
  free(t->config);
  *t = (net){0};
}

/* Relative error by norm; a size below least counts as least (gradients that are zero by symmetry). */
static double error(const float *x, const float *ref, int64_t n, double least)
{
  double diff = 0, size = 0;

  for (int64_t i = 0; i < n; i++) {
    diff += ((double)x[i] - (double)ref[i]) * ((double)x[i] - (double)ref[i]);
    size += (double)ref[i] * (double)ref[i];
  }
  return sqrt(diff) / fmax(sqrt(size), least);
}

static const dx_param_entry *entry(const net *t, const char *name)
{
  for (int64_t i = 0; i < t->params.count; i++)
    if (!strcmp(t->params.entry[i].name, name)) return &t->params.entry[i];
  return NULL;
}

/* The data of one network, up to "end". */
static int compare(net *t, FILE *f)
{
  char line[256], name[128], worst_name[128] = "";
  long long n, seen = 0;
  double worst = 0, gnorm = 0;

  for (int64_t i = 0; i < t->params.floats; i++) gnorm += (double)t->gw[i] * (double)t->gw[i];
  gnorm = sqrt(gnorm / (double)t->params.numbers);
  while (fgets(line, sizeof line, f) && strcmp(line, "end\n")) {
    if (sscanf(line, "data %127s %lld", name, &n) != 2) return 0;
    const dx_param_entry *const e = entry(t, name);
    const int64_t have = e ? e->where.n : !strcmp(name, "y") ? t->out : !strcmp(name, "gx") ? t->in : -1;
    if (have != n) printf("# %s: %lld numbers in diffusers, %lld here\n", name, n, (long long)have);
    if (have != n) return 0;
    float *const ref = floats(n);
    if (fread(ref, sizeof *ref, (size_t)n, f) != (size_t)n) return 0;
    if (e) {
      const double off = error(t->gw + e->where.at, ref, n, 1e-2 * gnorm * sqrt((double)n));

      seen++;
      if (!(off <= worst)) worst = off, strcpy(worst_name, name);
    } else if (!strcmp(name, "y")) {
      const double off = error(t->y, ref, n, 0);
      ok(off < 1e-5, "%s: prediction, relative RMS %.1e", t->name, off);
    } else {
      const double off = error(t->gx, ref, n, 0);
      ok(off < 1e-4, "%s: gradient of the input, relative %.1e", t->name, off);
    }
    free(ref);
  }
  ok(seen == t->params.count, "%s: the same %lld parameters", t->name, (long long)t->params.count);
  ok(worst < 1e-4, "%s: gradients of the parameters, at most %.1e off (%s)", t->name, worst, worst_name);
  return 1;
}

static int option(net *t, char *line)
{
  char *const key = line + strlen("option "), *const value = strchr(key, ' ') + 1;

  value[-1] = 0;
  value[strcspn(value, "\n")] = 0;
  const dx_option *const o = dx_option_find(kind->options, key);
  dx_error *const err = o ? dx_option_read(o, value, t->config) : NULL;
  if (err) printf("# %s %s\n", key, dx_error_text(err));
  return o && !err;
}

/* The network of DDPM's CIFAR-10 runs has 35,746,307 parameters (google/ddpm-cifar10-32). */
static void check_default(void)
{
  const dx_model_spec spec = {.sample = {1, 32, 32, 3}, .out_channels = 3, .timesteps = 1000};
  void *config = calloc(1, kind->config_size), *model = NULL;
  dx_params params = {0};

  dx_option_presets(kind->options, config);
  dx_error *const err = kind->create(config, &spec, &params, &model);
  ok(!err && params.numbers == 35746307, "by default: %lld parameters", (long long)params.numbers);
  dx_error_free(err);
  if (model) kind->destroy(model);
  dx_params_destroy(&params);
  free(config);
}

/* What cannot be built is refused in words that name the option. */
static void check_refused(const char *key, const char *value, const char *words)
{
  const dx_model_spec spec = {.sample = {1, 12, 8, 3}, .out_channels = 3, .timesteps = 1000, .classes = 10};
  void *config = calloc(1, kind->config_size), *model = NULL;
  dx_params params = {0};

  dx_option_presets(kind->options, config);
  dx_error *err = dx_option_read(dx_option_find(kind->options, "multipliers"), "[1, 2]", config);
  if (!err) err = dx_option_read(dx_option_find(kind->options, "attention"), "[6]", config);
  if (!err) err = dx_option_read(dx_option_find(kind->options, key), value, config);
  if (!err) err = kind->create(config, &spec, &params, &model);
  ok(err && !model && strstr(dx_error_text(err), words), "%s %s is refused: %s", key, value, err ? dx_error_text(err) : "no");
  dx_error_free(err);
  if (model) kind->destroy(model);
  dx_params_destroy(&params);
  free(config);
}

int main(int argc, char **argv)
{
  char path[4096], line[256];
  net t = {0};
  int fine = 1, cases = 0;

  kind = dx_model_find("unet");
  dx_kernels_ref(&kernels);
  if (dx_blis_start(NULL)) return 1;
  if (argc > 1) snprintf(path, sizeof path, "%s", argv[1]);
  else snprintf(path, sizeof path, "%s/tests/golden/unet.bin", getenv("srcdir") ? getenv("srcdir") : ".");
  check_default();
  check_refused("multipliers", "[1, 2, 2, 2]", "must be multiples of 8");
  check_refused("norm_groups", "5", "128 channels");
  check_refused("head_channels", "48", "heads of 48");
  check_refused("classes", "7", "model.classes is 7");
  check_refused("attention", "[6, 5]", "model.attention: 5 is the size of no level; the levels' are 12, 6");
  check_refused("multipliers", "[1,1,1,1,1,1,1,1,1]", "9 levels");
  FILE *f = fopen(path, "rb");
  ok(f != NULL, "%s is there", argc > 1 ? path : "golden/unet.bin");
  while (f && fine && fgets(line, sizeof line, f)) {
    if (!strncmp(line, "case ", 5)) {
      drop(&t);
      snprintf(t.name, sizeof t.name, "%.*s", (int)strcspn(line + 5, "\n"), line + 5);
      t.config = calloc(1, kind->config_size);
      dx_option_presets(kind->options, t.config);
      cases++;
    } else {
      fine = !strncmp(line, "option ", 7) ? option(&t, line) : run(&t, line) && compare(&t, f);
    }
  }
  ok(fine && cases > 1, "%d networks", cases);
  drop(&t);
  if (f) fclose(f);
  return done();
}
