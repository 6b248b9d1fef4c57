/* SPDX-License-Identifier: Apache-2.0 */
/* experiment.c - see experiment.h. */
#include "experiment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/grid.h"
#include "diffusion/times.h"
#include "train/evaluate.h"
#include "train/optimizer.h"

typedef struct { char name[128]; int64_t seed; char output[2048]; } general_config;
typedef struct { char kind[32]; } model_config;

static const dx_option general_options[] = {
  DX_OPTION(general_config, name, "run", 0, 0, "name of the run, for titles", .role = DX_RUN),
  DX_OPTION(general_config, seed, "1", 0, 9e15, "of all random numbers"),
  DX_OPTION(general_config, output, "runs/NAME", 0, 0, "the run's folder; NAME stands for the name", .role = DX_RUN),
  DX_OPTION_END
};

/* "exact|mlp|unet": the list itself. */
static const char model_names[] = "exact"
#define DX_MODEL(name) "|" #name
#include "nn/models.def"
#undef DX_MODEL
  ;

static const dx_option model_options[] = {
  DX_OPTION(model_config, kind, "mlp", 0, 0,
            "which network (diffx list), or exact: the best possible prediction, where it is known in closed form",
            .choices = model_names),
  DX_OPTION_END
};

/* Kinds of one thing, as a list gives them. */
typedef struct {
  const char *name;
  const dx_option *options;
  size_t config_size;
} kind;

static const dx_option no_options[] = {DX_OPTION_END};
static const kind exact_kind = {"exact", no_options, 1};

static bool data_at(int i, kind *k)
{
  const dx_source *const s = dx_source_at(i);

  if (s) *k = (kind){s->name, s->options, s->config_size};
  return s != NULL;
}

static bool schedule_at(int i, kind *k)
{
  const dx_schedule *const s = dx_schedule_at(i);

  if (s) *k = (kind){s->name, s->options, s->config_size};
  return s != NULL;
}

static bool model_at(int i, kind *k)
{
  const dx_model *const m = i > 0 ? dx_model_at(i - 1) : NULL;

  *k = i == 0 ? exact_kind : m ? (kind){m->name, m->options, m->config_size} : (kind){0};
  return k->name != NULL;
}

static bool loss_at(int i, kind *k)
{
  const dx_loss *const l = dx_loss_at(i);

  if (l) *k = (kind){l->name, l->options, l->config_size};
  return l != NULL;
}

static bool sampler_at(int i, kind *k)
{
  const dx_sampler *const s = dx_sampler_at(i);

  if (s) *k = (kind){s->name, s->options, s->config_size};
  return s != NULL;
}

/* What an experiment chooses by name: the key that names it, and its list. */
enum { DATA, SCHEDULE, MODEL, LOSS, SAMPLER, CHOICES };
static const struct {
  const char *prefix, *key;
  const dx_option *common;
  bool (*at)(int i, kind *k);
} choice[CHOICES] = {
  [DATA] = {"data", "data.kind", dx_data_options, data_at},
  [SCHEDULE] = {"process", "process.schedule", dx_process_options, schedule_at},
  [MODEL] = {"model", "model.kind", model_options, model_at},
  [LOSS] = {"objective", "objective.loss", dx_objective_options, loss_at},
  [SAMPLER] = {"sample", "sample.sampler", dx_sample_options, sampler_at},
};

enum { KINDS_MOST = 16 };

struct dx_experiment {
  general_config general;
  model_config model;
  dx_spec spec;
  char name[128], output[2304];
  void *kind_config[CHOICES][KINDS_MOST]; /* of the chosen kind; of all where the name is unknown */
  char only_with[CHOICES][KINDS_MOST][96];
  dx_section section[DX_SECTIONS];
  int sections;
  char *settings, *everything;
};

static void add_section(dx_experiment *e, dx_section s)
{
  if (e->sections < DX_SECTIONS) e->section[e->sections++] = s;
}

static const char *name_of(const dx_keys *keys, int c)
{
  const char *const text = dx_keys_text(keys, choice[c].key);
  const dx_option *const o = dx_option_find(choice[c].common, strrchr(choice[c].key, '.') + 1);

  return text ? text : o->preset;
}

/* Sections of a choice: its common table, then those of its kinds, the chosen one filled. Where the
   name is unknown (the common table says so) all are accepted, so that one mistake is not told as many. */
static dx_error *add_kinds(dx_experiment *e, const dx_keys *keys, int c, void *common, int *chosen)
{
  const char *const name = name_of(keys, c);
  kind k;

  *chosen = -1;
  for (int i = 0; choice[c].at(i, &k); i++)
    if (!strcmp(k.name, name)) *chosen = i;
  add_section(e, (dx_section){.prefix = choice[c].prefix, .options = choice[c].common, .into = common});
  for (int i = 0; i < KINDS_MOST && choice[c].at(i, &k); i++) {
    const bool filled = *chosen < 0 || *chosen == i;

    if (filled && !(e->kind_config[c][i] = calloc(1, k.config_size + 1)))
      return DX_FAIL(INTERNAL, "no memory for an experiment");
    snprintf(e->only_with[c][i], sizeof e->only_with[c][i], "%s: %s", choice[c].key, k.name);
    add_section(e, (dx_section){.prefix = choice[c].prefix, .options = k.options, .into = e->kind_config[c][i],
                                .only_with = e->only_with[c][i]});
  }
  return NULL;
}

/* All sections with the places that they fill. */
static dx_error *add_sections(dx_experiment *e, const dx_keys *keys, int chosen[CHOICES])
{
  dx_spec *const s = &e->spec;

  add_section(e, (dx_section){.prefix = "", .options = general_options, .into = &e->general});
  DX_TRY(add_kinds(e, keys, DATA, &s->data, &chosen[DATA]));
  DX_TRY(add_kinds(e, keys, SCHEDULE, &s->process, &chosen[SCHEDULE]));
  DX_TRY(add_kinds(e, keys, MODEL, &e->model, &chosen[MODEL]));
  DX_TRY(add_kinds(e, keys, LOSS, &s->objective, &chosen[LOSS]));
  add_section(e, (dx_section){.prefix = "train", .options = dx_train_options, .into = &s->train});
  add_section(e, (dx_section){.prefix = "evaluate", .options = dx_evaluate_options, .into = &s->evaluate});
  DX_TRY(add_kinds(e, keys, SAMPLER, &s->sample, &chosen[SAMPLER]));
  add_section(e, (dx_section){.prefix = "run", .options = dx_run_options, .into = &s->run});
  return NULL;
}

/* The denoiser of any sigma goes with its draw. */
static dx_error *check_draw(const dx_spec *s, const char **key)
{
  const bool any = dx_times_find(s->train.t_sampling)->sigma != NULL, edm = dx_predict_find(s->objective.predict)->preconditioned;

  if (any == edm) return NULL;
  *key = "train.t_sampling";
  return DX_FAIL(CONFIG, "train.t_sampling is %s, but objective.loss is %s; allowed: %s", s->train.t_sampling, s->objective.loss,
                 edm ? "log-normal" : "another than log-normal, which draws sigma for edm alone");
}

static dx_error *check_weights(const dx_spec *s, const dx_keys *keys, const char *key, const char *name)
{
  int place;
  dx_error *const wrong = dx_weights_find(&s->train, name, &place), *err = NULL;

  if (wrong) err = dx_keys_wrong(keys, key, "%s", dx_error_text(wrong));
  dx_error_free(wrong);
  return err;
}

/* What single rows cannot see. */
static dx_error *check_together(const dx_experiment *e, const dx_keys *keys)
{
  const dx_spec *const s = &e->spec;
  const char *key;
  char words[96];
  dx_error *err = dx_train_config_wrong(&s->train, &key, words) ? dx_keys_wrong(keys, key, "%s", words) : NULL;
  dx_process p;
  dx_grid grid;

  if (dx_evaluate_config_wrong(&s->evaluate, &key, words)) err = dx_keys_both(err, dx_keys_wrong(keys, key, "%s", words));
  dx_error *wrong = dx_process_create(&s->process, s->schedule, s->schedule_config,
                                      dx_reverse_find(s->objective.variance)->fixed, &p);

  if (wrong) return dx_keys_both(err, dx_error_in(wrong, "%s", dx_keys_place(keys, "process.timesteps")));
  wrong = dx_objective_check(&s->objective, &s->process, &p, &key);
  if (!wrong) wrong = check_draw(s, &key);
  if (wrong) err = dx_keys_both(err, dx_error_in(wrong, "%s", dx_keys_place(keys, key)));
  wrong = s->sampler->check ? s->sampler->check(s->sampler_config, &key) : NULL;
  if (wrong) err = dx_keys_both(err, dx_keys_wrong(keys, key, "%s", dx_error_text(wrong)));
  dx_error_free(wrong);
  wrong = dx_grid_create(&p, s->evaluate.respace, s->evaluate.spacing, DX_VARIANCE_LARGE, &grid);
  if (wrong) err = dx_keys_both(err, dx_keys_wrong(keys, "evaluate.respace", "%s", dx_error_text(wrong)));
  else dx_grid_destroy(&grid);
  dx_error_free(wrong);
  dx_process_destroy(&p);
  err = dx_keys_both(err, check_weights(s, keys, "evaluate.weights", s->evaluate.weights));
  return dx_keys_both(err, check_weights(s, keys, "sample.weights", s->sample.weights));
}

static dx_error *compatible(const dx_spec *spec, const char *theirs)
{
  const dx_experiment *const e = spec->sections;
  char *differ = NULL;
  dx_error *err = dx_sections_differ(e->section, e->sections, theirs, spec->settings, &differ);

  if (!err && differ && *differ)
    err = DX_FAIL(CONFIG, "the run that stands there is another experiment: %s; choose another output, or set this back",
                  differ);
  free(differ);
  return err;
}

/* output with the name in place of the folder NAME. */
static void place_output(dx_experiment *e)
{
  const char *const output = e->general.output, *at = strstr(output, "NAME");

  while (at && ((at > output && at[-1] != '/') || (at[4] && at[4] != '/'))) at = strstr(at + 1, "NAME");
  snprintf(e->name, sizeof e->name, "%s", e->general.name);
  if (at) snprintf(e->output, sizeof e->output, "%.*s%s%s", (int)(at - output), output, e->name, at + 4);
  else snprintf(e->output, sizeof e->output, "%s", output);
}

static dx_error *fill(dx_experiment *e, const dx_keys *keys)
{
  dx_spec *const s = &e->spec;
  int chosen[CHOICES];

  DX_TRY(add_sections(e, keys, chosen));
  DX_TRY(dx_keys_fill(keys, e->section, e->sections));
  for (int c = 0; c < CHOICES; c++)
    if (chosen[c] < 0) return DX_FAIL(INTERNAL, "%s allows %s, which is in no list", choice[c].key, name_of(keys, c));
  s->schedule = dx_schedule_at(chosen[SCHEDULE]);
  s->model = chosen[MODEL] > 0 ? dx_model_at(chosen[MODEL] - 1) : NULL;
  s->loss = dx_loss_at(chosen[LOSS]);
  s->sampler = dx_sampler_at(chosen[SAMPLER]);
  s->data_kind = e->kind_config[DATA][chosen[DATA]];
  s->schedule_config = e->kind_config[SCHEDULE][chosen[SCHEDULE]];
  s->model_config = e->kind_config[MODEL][chosen[MODEL]];
  s->loss_config = e->kind_config[LOSS][chosen[LOSS]];
  s->sampler_config = e->kind_config[SAMPLER][chosen[SAMPLER]];
  s->seed = (uint64_t)e->general.seed;
  DX_TRY(check_together(e, keys));
  place_output(e);
  s->name = e->name;
  s->output = e->output;
  DX_TRY(dx_sections_print(e->section, e->sections, 1u << DX_FIXED | 1u << DX_FREE, &e->settings));
  DX_TRY(dx_sections_print(e->section, e->sections, 1u << DX_FIXED | 1u << DX_FREE | 1u << DX_RUN, &e->everything));
  s->settings = e->settings;
  s->everything = e->everything;
  s->compatible = compatible;
  s->sections = e;
  return NULL;
}

/* Which file the data are in is required, but no part of the answer. */
static dx_error *name_no_file(dx_keys *keys)
{
  if (strcmp(name_of(keys, DATA), "file") || dx_keys_text(keys, "data.file")) return NULL;
  return dx_keys_assign(keys, "data.file=none");
}

dx_error *dx_experiment_create(const char *file, const char *text, size_t size, char *const *assignments,
                               int count, dx_data_use data, dx_experiment **out)
{
  dx_experiment *e = calloc(1, sizeof *e);
  dx_keys *keys = NULL;
  dx_error *err;

  if (!e) return DX_FAIL(INTERNAL, "no memory for an experiment");
  DX_TRY_GOTO(err, out, dx_keys_parse(file, text, size, &keys));
  for (int i = 0; i < count; i++) DX_TRY_GOTO(err, out, dx_keys_assign(keys, assignments[i]));
  if (data == DX_DATA_UNREAD) DX_TRY_GOTO(err, out, name_no_file(keys));
  err = fill(e, keys);
out:
  dx_keys_destroy(keys);
  if (err) dx_experiment_destroy(e);
  else *out = e;
  return err;
}

void dx_experiment_destroy(dx_experiment *e)
{
  if (!e) return;
  for (int c = 0; c < CHOICES; c++)
    for (int i = 0; i < KINDS_MOST; i++) free(e->kind_config[c][i]);
  free(e->settings);
  free(e->everything);
  free(e);
}

const dx_spec *dx_experiment_spec(const dx_experiment *e) { return &e->spec; }

int dx_all_sections(dx_section sections[DX_SECTIONS])
{
  static char only_with[CHOICES][KINDS_MOST][96]; /* filled alike by every call */
  const struct { const char *prefix; const dx_option *options; int choice; } order[] = {
    {"", general_options, -1}, {"data", NULL, DATA}, {"process", NULL, SCHEDULE}, {"model", NULL, MODEL},
    {"objective", NULL, LOSS}, {"train", dx_train_options, -1},
    {"evaluate", dx_evaluate_options, -1}, {"sample", NULL, SAMPLER}, {"run", dx_run_options, -1},
  };
  int n = 0;
  kind k;

  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    const int c = order[i].choice;

    sections[n++] = (dx_section){.prefix = order[i].prefix, .options = c < 0 ? order[i].options : choice[c].common};
    for (int j = 0; c >= 0 && j < KINDS_MOST && choice[c].at(j, &k); j++) {
      if (!k.options[0].key) continue;
      snprintf(only_with[c][j], sizeof only_with[c][j], "%s: %s", choice[c].key, k.name);
      sections[n++] = (dx_section){.prefix = order[i].prefix, .options = k.options, .only_with = only_with[c][j]};
    }
  }
  return n;
}

static dx_error *no_kind_of_data(const char *name)
{
  const char *near = NULL;

  for (int i = 0; dx_source_at(i); i++)
    if (dx_text_near(name, dx_source_at(i)->name) >= 0) near = dx_source_at(i)->name;
  return DX_FAIL(USAGE, "%s is no kind of data%s%s%s; diffx list shows them", name, near ? " (did you mean " : "",
                 near ? near : "", near ? "?)" : "");
}

/* The options of one kind by themselves, from assignments; *config is malloc'd. */
static dx_error *configure(const char *what, const dx_section *more, const dx_option *options, size_t size,
                           char *const *assignments, int count, void **config)
{
  const char text[] = "{}";
  dx_keys *keys = NULL;
  void *into = NULL;
  dx_error *err;

  DX_TRY(dx_keys_parse(what, text, strlen(text), &keys));
  for (int i = 0; i < count; i++) DX_TRY_GOTO(err, out, dx_keys_assign(keys, assignments[i]));
  into = calloc(1, size + 1);
  if (!into) {
    err = DX_FAIL(INTERNAL, "no memory for options");
    goto out;
  }
  const dx_section sections[] = {{.prefix = "", .options = options, .into = into}, more ? *more : (dx_section){0}};
  err = dx_keys_fill(keys, sections, more ? 2 : 1);
out:
  dx_keys_destroy(keys);
  if (err) free(into);
  else *config = into;
  return err;
}

dx_error *dx_source_configure(const char *kind_name, char *const *assignments, int count, const dx_source **source,
                              void **config)
{
  dx_data_config common;
  const dx_section shared = {.prefix = "", .options = dx_data_options, .into = &common};

  *source = dx_source_find(kind_name);
  if (!*source) return no_kind_of_data(kind_name);
  return configure("data make", &shared, (*source)->options, (*source)->config_size, assignments, count, config);
}

dx_error *dx_importer_configure(const char *name, char *const *assignments, int count, const dx_importer **importer,
                                void **config)
{
  *importer = dx_importer_find(name);
  if (!*importer)
    return DX_FAIL(USAGE, "%s is no format that can be imported; allowed: cifar10, idx, images, npy (diffx list)", name);
  return configure("data import", NULL, (*importer)->options, (*importer)->config_size, assignments, count, config);
}
