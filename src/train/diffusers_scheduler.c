/* SPDX-License-Identifier: Apache-2.0 */
/* train/diffusers_scheduler.c - see diffusers.h: the process that a network was trained for, which diffusers keeps in
   scheduler_config.json. Of its keys those count that say how noise is added and what is predicted; how samples are drawn
   (clip_sample, timestep_spacing, ...) is not the network's. */
#include "train/diffusers.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "io/file.h"
#include "io/json.h"

/* Words of the same meaning; of several of theirs the first is written. Their variance `learned` is a variance, ours its
   logarithm. */
static const struct words { const char *ours, *theirs; } predictions[] = {
  {"noise", "epsilon"}, {"x0", "sample"}, {"v", "v_prediction"}, {NULL, NULL},
}, variances[] = {
  {"fixed-small", "fixed_small"}, {"fixed-large", "fixed_large"}, {"learned-range", "learned_range"},
  {"fixed-small", "fixed_small_log"}, {"fixed-large", "fixed_large_log"}, {NULL, NULL},
};

/* --- writing ---------------------------------------------------------------- */

static const char *their_word(const struct words *w, const char *ours)
{
  while (w->ours && strcmp(w->ours, ours)) w++;
  return w->theirs;
}

bool dx_diffusers_words(const char *predict, const char *variance, dx_diffusers_scheduler *out)
{
  out->prediction = their_word(predictions, predict);
  out->variance = their_word(variances, variance);
  return out->prediction && out->variance;
}

/* The betas as they are: so any schedule is one of theirs. */
void dx_diffusers_put_scheduler(FILE *to, const void *ctx)
{
  const dx_diffusers_scheduler *const d = ctx;
  const dx_process *const p = d->process;
  char text[64];

  fprintf(to, "{\n  \"_class_name\": \"DDPMScheduler\",\n  \"_written_by\": \"diffx %s\",\n", dx_version());
  fprintf(to, "  \"num_train_timesteps\": %" PRId64 ",\n  \"trained_betas\": [", p->timesteps);
  for (int64_t i = 0; i < p->timesteps; i++) {
    dx_real_print(p->beta[i], text, sizeof text);
    fprintf(to, "%s%s", i ? ", " : "", text);
  }
  dx_real_print(d->clip > 0 ? d->clip : 1, text, sizeof text);
  fprintf(to, "],\n  \"prediction_type\": \"%s\",\n  \"variance_type\": \"%s\",\n", d->prediction, d->variance);
  fprintf(to, "  \"clip_sample\": %s,\n  \"clip_sample_range\": %s,\n", d->clip > 0 ? "true" : "false", text);
  fprintf(to, "  \"thresholding\": false,\n  \"timestep_spacing\": \"leading\",\n  \"steps_offset\": 0,\n"
              "  \"rescale_betas_zero_snr\": false\n}\n");
}

void dx_diffusers_put_index(FILE *to, const void *ctx)
{
  (void)ctx;
  fprintf(to, "{\n  \"_class_name\": \"DDPMPipeline\",\n  \"scheduler\": [\"diffusers\", \"DDPMScheduler\"],\n"
              "  \"unet\": [\"diffusers\", \"UNet2DModel\"]\n}\n");
}

/* --- reading ---------------------------------------------------------------- */

void dx_diffusers_process_free(dx_diffusers_process *p)
{
  free(p->settings);
  *p = (dx_diffusers_process){0};
}

#ifndef DX_JANSSON
dx_error *dx_diffusers_read_process(const char *folder, bool learns, dx_diffusers_process *out)
{
  (void)folder;
  (void)learns;
  *out = (dx_diffusers_process){0};
  return NULL;
}

#else

static const struct words schedules[] = {
  {"linear", "linear"}, {"quadratic", "scaled_linear"}, {"cosine", "squaredcos_cap_v2"}, {NULL, NULL},
};

/* A scheduler_config.json that is being read into settings. */
typedef struct {
  const dx_json *json;
  dx_diffusers_process *out;
  FILE *to;
  bool learns; /* the network has channels for a variance */
} reader;

/* The value of a key, NULL where it is missing or null. */
static const dx_json *value_of(const reader *r, const char *key)
{
  const dx_json *const v = dx_json_at(r->json, key);

  return v && !dx_json_is_null(v) ? v : NULL;
}

static dx_error *refuse(const reader *r, const char *key, const dx_json *v, const char *allowed)
{
  char shown[DX_SHOWN];

  return DX_FAIL(DATA, "%s: %s is %s; allowed: %s", r->out->file, key, dx_json_show(v, shown), allowed);
}

/* What diffx has no words for: a list, with what was said before. */
__attribute__((format(printf, 2, 3))) static void lack(const reader *r, const char *fmt, ...)
{
  char *const lacks = r->out->lacks;
  const size_t used = strlen(lacks), room = sizeof r->out->lacks - used;
  va_list ap;

  if (used && room > 2) strcpy(lacks + used, "; ");
  va_start(ap, fmt);
  if (room > 2) vsnprintf(lacks + strlen(lacks), sizeof r->out->lacks - strlen(lacks), fmt, ap);
  va_end(ap);
}

/* Our word for that of a key (preset: where it is missing); NULL, and told, where diffx has none. */
static dx_error *read_word(const reader *r, const char *key, const char *preset, const struct words *w, const char **ours)
{
  const dx_json *const v = value_of(r, key);
  const char *const text = v ? dx_json_text(v) : preset;
  char shown[DX_SHOWN];

  *ours = NULL;
  if (!text) return refuse(r, key, v, "a text");
  while (w->ours && strcmp(w->theirs, text)) w++;
  *ours = w->ours;
  if (!w->ours) lack(r, "%s is %s, which diffx has not", key, v ? dx_json_show(v, shown) : preset);
  return NULL;
}

static dx_error *put_real(const reader *r, const char *key, double preset, const char *ours)
{
  const dx_json *const v = value_of(r, key);
  char text[64];
  double x = preset;

  if (v && !dx_json_real(v, &x)) return refuse(r, key, v, "a number");
  dx_real_print(x, text, sizeof text);
  fprintf(r->to, "  %s: %s\n", ours, text);
  return NULL;
}

static dx_error *put_list(const reader *r, const dx_json *betas)
{
  static const char allowed[] = "null or a list of numbers";
  const size_t room = dx_option_find(dx_schedule_find("list")->options, "betas")->room;
  const int64_t n = dx_json_count(betas);
  size_t length = 0;
  char text[64];
  double x;

  if (!dx_json_is_list(betas)) return refuse(r, "trained_betas", betas, allowed);
  for (int64_t i = 0; i < n; i++) {
    if (!dx_json_real(dx_json_item(betas, i), &x)) return refuse(r, "trained_betas", betas, allowed);
    length += (size_t)dx_real_print(x, text, sizeof text) + 1;
  }
  if (length > room) {
    lack(r, "trained_betas are %" PRId64 ", more than process.betas takes", n);
    return NULL;
  }
  fprintf(r->to, "  schedule: list\n  betas: \"");
  for (int64_t i = 0; i < n && dx_json_real(dx_json_item(betas, i), &x); i++) {
    dx_real_print(x, text, sizeof text);
    fprintf(r->to, "%s%s", i ? "," : "", text);
  }
  fprintf(r->to, "\"\n");
  return NULL;
}

static bool is_class(const reader *r, const char *name)
{
  const dx_json *const v = value_of(r, "_class_name");
  const char *const class = v ? dx_json_text(v) : NULL;

  return class && !strcmp(class, name);
}

/* Of these a key that is left out has the preset that is used here; other classes have others. */
static bool has_presets(const reader *r)
{
  return !value_of(r, "_class_name") || is_class(r, "DDPMScheduler") || is_class(r, "DDIMScheduler");
}

static dx_error *put_ramp(const reader *r, const char *schedule)
{
  if (!has_presets(r) && !(value_of(r, "beta_start") && value_of(r, "beta_end"))) {
    lack(r, "it tells not both beta_start and beta_end");
    return NULL;
  }
  fprintf(r->to, "  schedule: %s\n  scale: false\n", schedule);
  DX_TRY(put_real(r, "beta_start", 1e-4, "beta_first"));
  return put_real(r, "beta_end", 0.02, "beta_last");
}

static dx_error *put_betas(const reader *r)
{
  const dx_json *const betas = value_of(r, "trained_betas"), *const flow = value_of(r, "use_flow_sigmas");
  const dx_json *const shift = value_of(r, "snr_shift_scale");
  const char *schedule;
  bool flows = false;
  double by = 1;

  if (flow && !dx_json_bool(flow, &flows)) return refuse(r, "use_flow_sigmas", flow, "true or false");
  if (shift && !dx_json_real(shift, &by)) return refuse(r, "snr_shift_scale", shift, "a number");
  if (by != 1 || flows) {
    lack(r, "diffx has no %s", flows ? "use_flow_sigmas" : "snr_shift_scale");
    return NULL;
  }
  if (betas) return put_list(r, betas);
  if (!value_of(r, "beta_schedule") && !has_presets(r)) {
    lack(r, "it tells no betas");
    return NULL;
  }
  DX_TRY(read_word(r, "beta_schedule", "linear", schedules, &schedule));
  if (!schedule) return NULL;
  if (strcmp(schedule, "cosine")) return put_ramp(r, schedule);
  fprintf(r->to, "  schedule: cosine\n");
  return NULL;
}

static dx_error *put_process(const reader *r)
{
  const dx_json *const T = value_of(r, "num_train_timesteps"), *const zero = value_of(r, "rescale_betas_zero_snr");
  int64_t steps = 1000;
  bool rescale = false;

  if (T && !dx_json_int(T, &steps)) return refuse(r, "num_train_timesteps", T, "a whole number");
  if (zero && !dx_json_bool(zero, &rescale)) return refuse(r, "rescale_betas_zero_snr", zero, "true or false");
  fprintf(r->to, "process:\n  timesteps: %" PRId64 "\n  zero_terminal: %s\n", steps, rescale ? "true" : "false");
  return put_betas(r);
}

static dx_error *put_objective(const reader *r)
{
  const char *predict, *variance;

  DX_TRY(read_word(r, "prediction_type", "epsilon", predictions, &predict));
  fprintf(r->to, "objective:\n  predict: %s\n", predict ? predict : "noise");
  if (!value_of(r, "variance_type") && !is_class(r, "DDPMScheduler")) return NULL; /* other samplers have no variance */
  DX_TRY(read_word(r, "variance_type", "fixed_small", variances, &variance));
  const bool learned = variance && !strcmp(variance, "learned-range");
  if (learned && !r->learns) lack(r, "variance_type is learned_range, but the network has no channels for it");
  else if (variance) fprintf(r->to, "  variance: %s\n", variance);
  if (learned && r->learns) fprintf(r->to, "  loss: hybrid\n"); /* simple teaches no variance */
  return NULL;
}

/* In the network's folder, as it was in the first pipelines; below it, as export writes it; beside it, in a pipeline. */
static bool find_file(const char *folder, dx_diffusers_process *out)
{
  static const char *const places[] = {"scheduler_config.json", "scheduler/scheduler_config.json", "../scheduler/scheduler_config.json"};

  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(out->file, sizeof out->file, "%s/%s", folder, places[i]);
    if (dx_file_exists(out->file)) return true;
  }
  out->file[0] = '\0';
  return false;
}

dx_error *dx_diffusers_read_process(const char *folder, bool learns, dx_diffusers_process *out)
{
  char *text = NULL;
  dx_json *json = NULL;
  size_t size;
  dx_error *err;

  *out = (dx_diffusers_process){0};
  if (!find_file(folder, out)) return NULL;
  reader r = {.out = out, .learns = learns};
  DX_TRY(dx_file_read(out->file, 1 << 26, &text, &size));
  DX_TRY_GOTO(err, out, dx_json_parse(out->file, text, size, &json));
  r.json = json;
  if (!(r.to = open_memstream(&out->settings, &size))) {
    err = DX_FAIL(INTERNAL, "no memory for settings");
    goto out;
  }
  err = put_process(&r);
  if (!err) err = put_objective(&r);
  if (fclose(r.to) && !err) err = DX_FAIL(INTERNAL, "no memory for settings");
out:
  free(text);
  dx_json_free(json);
  if (err) dx_diffusers_process_free(out);
  return err;
}
#endif
