/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_model.c - diffx model import and diffx model export: networks of other programs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "train/checkpoint.h"
#include "train/diffusers.h"
#include "train/optimizer.h"

/* The network that an experiment describes, its parameters alone. */
static dx_error *list_parameters(const dx_spec *s, dx_model_spec *m, dx_params *out)
{
  void *model = NULL;

  m->timesteps = dx_problem_timesteps(s);
  DX_TRY(s->model->create(s->model_config, m, out, &model));
  s->model->destroy(model);
  return NULL;
}

/* Where the process comes from. */
static void say_process(const dx_call *call, const dx_spec *s, const dx_diffusers_process *d)
{
  char taken[400];

  snprintf(taken, sizeof taken, "process: %s, %lld timesteps, predicts %s, variance %s, loss %s (process.*=..., objective.*=... set others)",
           s->process.schedule, (long long)s->process.timesteps, s->objective.predict, s->objective.variance, s->objective.loss);
  if (!*d->file) dx_log_say(call->log, DX_LOG_INFO, "no scheduler_config.json tells how it was trained; %s", taken);
  else if (*d->lacks) dx_log_say(call->log, DX_LOG_WARN, "%s is not taken whole: %s; %s", d->file, d->lacks, taken);
  else dx_log_say(call->log, DX_LOG_INFO, "by %s, %s", d->file, taken);
}

static void say_imported(const dx_call *call, const char *path, const dx_model_spec *m, const dx_params *p)
{
  dx_log_say(call->log, DX_LOG_INFO, "%s: a U-Net of %lld parameters for images of %lld x %lld x %lld, at step 0", path,
             (long long)p->numbers, (long long)m->sample.h, (long long)m->sample.w, (long long)m->sample.c);
  if (m->out_channels == 2 * m->sample.c)
    dx_log_say(call->log, DX_LOG_INFO, "it predicts a variance, too: sample, evaluate and train.init_from need "
               "objective.variance=learned-range (or learned) and data of that shape; predict takes it as it is");
  else if (m->out_channels != m->sample.c)
    dx_log_say(call->log, DX_LOG_WARN, "it predicts %lld channels from %lld: predict and export take it, sample, evaluate and train do not",
               (long long)m->out_channels, (long long)m->sample.c);
  else
    dx_log_say(call->log, DX_LOG_INFO, "predict takes it as it is; sample, evaluate and train.init_from need images of that shape, too "
               "(data.file=... or data.kind=...)");
}

/* name: whose settings they are, for errors. given: assignments of the command line that take part. */
static dx_error *create(const dx_call *call, const char *name, const dx_diffusers *d, const dx_diffusers_process *process, int given,
                        dx_experiment **out)
{
  const char *const more = process->settings ? process->settings : "";
  const size_t size = strlen(d->settings) + strlen(more);
  char *const text = malloc(size + 1);
  dx_error *err;

  if (!text) return DX_FAIL(INTERNAL, "no memory for settings");
  snprintf(text, size + 1, "%s%s", d->settings, more);
  err = dx_experiment_create(name, text, size, call->argv + 3, given, DX_DATA_UNREAD, out);
  free(text);
  return err;
}

/* Adds what is wrong, line by line without its place, which is in no file. */
static void add_lacks(dx_diffusers_process *process, const dx_error *err)
{
  char text[4096], *rest;

  snprintf(text, sizeof text, "%s", dx_error_text(err));
  for (const char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    const char *const words = strstr(line, ": ");
    const size_t used = strlen(process->lacks);

    snprintf(process->lacks + used, sizeof process->lacks - used, "%s%s", used ? "; " : "", words ? words + 2 : line);
  }
}

static bool sets_process(const dx_call *call)
{
  for (int i = 3; i < call->argc; i++)
    if (!strncmp(call->argv[i], "process.", 8) || !strncmp(call->argv[i], "objective.", 10)) return true;
  return false;
}

/* The experiment that a folder and the command line describe. A process that diffx refuses by itself is left out, and told,
   unless the command line has a part in it; what is wrong with both together is the user's. */
static dx_error *describe(const dx_call *call, const dx_diffusers *d, dx_diffusers_process *process, dx_experiment **out)
{
  const int given = call->argc - 3;
  dx_experiment *alone = NULL;
  char name[4096];

  snprintf(name, sizeof name, "%s (as settings)", call->argv[1]);
  dx_error *const refused = create(call, name, d, process, given, out);
  if (!refused || dx_error_code(refused) != DX_E_CONFIG || !process->settings || sets_process(call)) return refused;
  dx_error *const why = create(call, "settings", d, process, 0, &alone);
  dx_experiment_destroy(alone);
  if (!why) return refused;
  dx_error_free(refused);
  if (dx_error_code(why) != DX_E_CONFIG) return why;
  add_lacks(process, why);
  dx_error_free(why);
  free(process->settings);
  process->settings = NULL;
  return create(call, name, d, process, given, out);
}

static dx_error *import(const dx_call *call)
{
  const char *const folder = call->argv[1], *const path = call->argv[2];
  dx_diffusers_process process = {0};
  dx_diffusers d;
  dx_experiment *e = NULL;
  dx_params p = {0};
  float *w = NULL;
  dx_error *err;

  DX_TRY(dx_call_output(call, path, "checkpoint"));
  DX_TRY(dx_diffusers_read(folder, &d));
  DX_TRY_GOTO(err, out, dx_diffusers_read_process(folder, d.out_channels == 2 * d.sample.c, &process));
  DX_TRY_GOTO(err, out, describe(call, &d, &process, &e));
  const dx_spec *const s = dx_experiment_spec(e);
  if (!s->model || strcmp(s->model->name, "unet")) {
    err = DX_FAIL(CONFIG, "model.kind is %s, but a folder of diffusers holds a unet", s->model ? s->model->name : "exact");
    goto out;
  }
  dx_model_spec m = {.sample = d.sample, .out_channels = d.out_channels};
  m.classes = dx_model_classes(s->model, s->model_config);
  DX_TRY_GOTO(err, out, list_parameters(s, &m, &p));
  if (!(w = malloc((size_t)p.floats * sizeof *w + 1))) {
    err = DX_FAIL(INTERNAL, "no memory for the weights");
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_diffusers_read_weights(folder, &p, w));
  DX_TRY_GOTO(err, out, dx_checkpoint_write_weights(path, s->settings, &m, &p, w));
  say_imported(call, path, &m, &p);
  say_process(call, s, &process);
out:
  free(w);
  dx_params_destroy(&p);
  dx_experiment_destroy(e);
  dx_diffusers_process_free(&process);
  dx_diffusers_free(&d);
  return err;
}

/* The scheduler that belongs to a network, or why there is none. */
static const char *find_scheduler(const dx_spec *s, const dx_trained *t, const dx_process *process, dx_diffusers_scheduler *out)
{
  *out = (dx_diffusers_scheduler){.process = process, .pipeline = dx_model_classes(s->model, s->model_config) == 0};
  if (!dx_diffusers_words(s->objective.predict, s->objective.variance, out))
    return out->prediction ? "objective.variance" : "objective.predict";
  out->clip = isnan(t->lo) ? 1 : isfinite(t->hi) && t->lo == -t->hi ? t->hi : 0;
  return NULL;
}

static void say_exported(const dx_call *call, const dx_spec *s, const dx_trained *t, const char *lacks,
                         const dx_diffusers_scheduler *d)
{
  const char *const folder = call->argv[2];
  char weights[DX_WEIGHTS_NAME];

  dx_log_say(call->log, DX_LOG_INFO, "%s: the weights of step %lld (%s), for UNet2DModel.from_pretrained", folder,
             (long long)t->step, dx_weights_name(&s->train, t->ema, weights));
  if (lacks)
    dx_log_say(call->log, DX_LOG_WARN, "no scheduler beside it: diffusers has none of %s %s", lacks,
               strcmp(lacks, "objective.predict") ? s->objective.variance : s->objective.predict);
  else if (!d->pipeline)
    dx_log_say(call->log, DX_LOG_WARN, "with its scheduler, but no DDPMPipeline, which does not tell a network its class");
  else
    dx_log_say(call->log, DX_LOG_INFO, "and for DDPMPipeline.from_pretrained, to be called with num_inference_steps=%lld or less",
               (long long)s->process.timesteps);
  if (!lacks && isnan(t->lo))
    dx_log_say(call->log, DX_LOG_INFO, "the checkpoint does not tell the range of its samples: the scheduler takes them as "
               "from -1 to 1");
  if (!lacks && isfinite(t->lo) && d->clip == 0)
    dx_log_say(call->log, DX_LOG_WARN, "samples are from %g to %g in the network's units; the scheduler, which could clip "
               "x0hat evenly to both sides, does not clip it", t->lo, t->hi);
}

static dx_error *export(dx_call *call)
{
  dx_diffusers_scheduler scheduler;
  dx_process process = {0};
  dx_call first;
  dx_trained t = {0};
  dx_params p = {0};
  char *settings = NULL, weights[DX_WEIGHTS_NAME];
  dx_error *err;

  dx_call_ema(call, weights);
  if (call->argc != 3) return DX_FAIL(USAGE, "usage: diffx model export RUN|CHECKPOINT DIR [--ema[=RATE]]");
  first = *call;
  first.argv = call->argv + 1;
  first.argc = 1;
  DX_TRY_GOTO(err, out, dx_trained_read(&first, &t, &settings));
  DX_TRY_GOTO(err, out, dx_trained_has_shape(&t));
  DX_TRY_GOTO(err, out, dx_experiment_create(t.file, settings, strlen(settings), NULL, 0, DX_DATA_UNREAD, &t.experiment));
  const dx_spec *const s = dx_experiment_spec(t.experiment);
  if (!s->model || strcmp(s->model->name, "unet")) {
    err = DX_FAIL(DATA, "%s: model.kind is %s; diffusers has the network of unet alone", t.file, s->model ? s->model->name : "exact");
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_trained_ema(NULL, &t, weights));
  DX_TRY_GOTO(err, out, list_parameters(s, &t.model, &p));
  DX_TRY_GOTO(err, out, dx_checkpoint_fits(t.file, t.floats, &p));
  DX_TRY_GOTO(err, out, dx_process_create(&s->process, s->schedule, s->schedule_config,
                                          dx_reverse_find(s->objective.variance)->fixed, &process));
  const char *const lacks = find_scheduler(s, &t, &process, &scheduler);
  DX_TRY_GOTO(err, out, dx_diffusers_write(call->argv[2], s->model_config, &t.model, &p, t.w, lacks ? NULL : &scheduler));
  say_exported(call, s, &t, lacks, &scheduler);
out:
  free(settings);
  dx_process_destroy(&process);
  dx_params_destroy(&p);
  dx_trained_free(&t);
  return err;
}

dx_error *dx_cmd_model(const dx_call *call_)
{
  dx_call call = *call_;
  const char *const verb = call.argc > 0 ? call.argv[0] : "";

  if (!strcmp(verb, "export")) return export(&call);
  if (!strcmp(verb, "import") && call.argc >= 3 && !strchr(call.argv[2], '=')) return import(&call);
  return DX_FAIL(USAGE, "usage: diffx model import DIR OUT.h5 [key=value ...], or diffx model export RUN|CHECKPOINT DIR [--ema[=RATE]]");
}
