/* SPDX-License-Identifier: Apache-2.0 */
/* tests/schedule.c - every schedule falls strictly; linear and cosine have their golden values. */
#include "diffusion/process.h"
#include "golden/diffusion.h"
#include "near.h"
#include "tap.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef union { max_align_t align; char bytes[1 << 17]; } settings;

/* As a user would give it: presets, then KEY VALUE pairs up to NULL. */
static void set(const dx_schedule *s, settings *c, const char *const *pairs)
{
  assert(s->config_size <= sizeof *c);
  dx_option_presets(s->options, c);
  for (; pairs && *pairs; pairs += 2) {
    dx_error *e = dx_option_read(dx_option_find(s->options, pairs[0]), pairs[1], c);

    assert(!e);
    dx_error_free(e);
  }
}

static void falls_strictly(const dx_schedule *s, int64_t T)
{
  double *beta = malloc((size_t)T * sizeof *beta), abar = 1;
  settings c;
  int64_t wrong = 0;
  dx_error *e;

  set(s, &c, NULL);
  e = s->fill(&c, T, beta);
  for (int64_t i = 0; !e && i < T; i++) {
    const double next = abar * (1 - beta[i]);

    wrong += !(beta[i] > 0 && beta[i] <= 1 && next < abar && (next > 0 || i == T - 1));
    abar = next;
  }
  ok(!e && !wrong, "%s: abar falls strictly over %d steps, to %g", s->name, (int)T, abar);
  dx_error_free(e);
  free(beta);
}

static void golden(void)
{
  int rows = 0, wrong = 0;

  for (size_t i = 0; i < sizeof golden_schedule / sizeof *golden_schedule; i++) {
    const dx_schedule *s = dx_schedule_find(golden_schedule[i].name);
    const int T = golden_schedule[i].T;
    double *beta = malloc((size_t)T * sizeof *beta);
    settings c;
    dx_error *e;

    set(s, &c, NULL);
    e = s->fill(&c, T, beta);
    wrong += e || !near(beta[golden_schedule[i].t - 1], golden_schedule[i].beta, 1e-13);
    dx_error_free(e);
    free(beta);
    rows++;
  }
  for (size_t i = 0; i < sizeof golden_beta / sizeof *golden_beta; i++) {
    const int T = golden_beta[i].T;
    double *beta = malloc((size_t)T * sizeof *beta);
    settings c;

    set(dx_schedule_find(golden_beta[i].name), &c, NULL);
    dx_error *e = dx_schedule_find(golden_beta[i].name)->fill(&c, T, beta);
    const bool good = !e && near(beta[golden_beta[i].t - 1], golden_beta[i].beta, 4e-13);

    if (!good) printf("# %s %d: beta_%d is %.17g, not %.17g\n", golden_beta[i].name, T, golden_beta[i].t, beta[golden_beta[i].t - 1], golden_beta[i].beta);
    wrong += !good;
    dx_error_free(e);
    free(beta);
    rows++;
  }
  ok(!wrong && rows > 90, "beta of %d rows is right to 4e-13", rows);
}

/* By array index, cosine with 1000 steps has beta 4.12842248219691e-05 at 0 and one clipped beta. */
static void cosine_clips_once(void)
{
  double beta[1000];
  int clipped = 0;
  dx_error *e = dx_schedule_find("cosine")->fill(NULL, 1000, beta);

  for (int i = 0; i < 1000; i++) clipped += beta[i] == 0.999;
  ok(!e && clipped == 1 && beta[999] == 0.999,
     "cosine: one beta of 1000 is clipped to 0.999, the last");
  ok(near(beta[0], 4.12842248219691e-05, 1e-11), "cosine: beta_1 of 1000 steps");
  dx_error_free(e);
}

static void refuses(const char *name, int64_t T, const char *const *pairs, const char *words, const char *what)
{
  const dx_schedule *s = dx_schedule_find(name);
  double beta[1000];
  settings c;
  dx_error *e;

  set(s, &c, pairs);
  e = s->fill(&c, T, beta);
  ok(e && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), words), "%s refuses %s: %s", name,
     what, e ? dx_error_text(e) : "no error");
  dx_error_free(e);
}

static void refused(int64_t T, const char *const *pairs, const char *words, const char *what)
{
  refuses("linear", T, pairs, words, what);
}

/* The text of process.betas, one number after the other. */
static void listed(void)
{
  static const char *const three[] = {"betas", " 0.125,0.25 ,\t1e-1\n", NULL}, *const word[] = {"betas", "0.1 0.2x 0.3", NULL};
  const dx_schedule *s = dx_schedule_find("list");
  double beta[3] = {0};
  settings c;

  set(s, &c, three);
  dx_error *e = s->fill(&c, 3, beta);
  ok(!e && beta[0] == 0.125 && beta[1] == 0.25 && beta[2] == 0.1, "list: three betas");
  dx_error_free(e);
  refuses("list", 4, three, "process.betas has 3 numbers; allowed: as many as process.timesteps, which is 4", "too few");
  refuses("list", 2, three, "process.betas has 3 numbers", "too many");
  refuses("list", 3, word, "process.betas: number 2 is \"0.2x\"", "a word");
}

static void accepted(int64_t T, const char *const *pairs, const char *what)
{
  const dx_schedule *s = dx_schedule_find("linear");
  double beta[1000];
  settings c;
  dx_error *e;

  set(s, &c, pairs);
  e = s->fill(&c, T, beta);
  ok(!e, "linear takes %s: %s", what, e ? dx_error_text(e) : "");
  dx_error_free(e);
}

int main(void)
{
  static const char *const unscaled[] = {"scale", "false", NULL};
  static const char *const falling[] = {"beta_first", "0.5", NULL};

  for (int i = 0; dx_schedule_at(i); i++) {
    const dx_schedule *s = dx_schedule_at(i);

    ok(dx_schedule_find(s->name) == s && s->help, "%s is found by its name", s->name);
    ok(strstr(dx_option_find(dx_process_options, "schedule")->choices, s->name) != NULL,
       "%s is a choice of process.schedule", s->name);
    if (!strcmp(s->name, "list")) continue;
    falls_strictly(s, 21);
    falls_strictly(s, 1000);
    falls_strictly(s, 4000);
  }
  ok(!dx_schedule_find("lineal") && !dx_schedule_at(-1) && !dx_schedule_at(1000), "no other schedule");
  golden();
  cosine_clips_once();
  listed();
  refuses("constant", 10, NULL, "process.timesteps is 10: constant's beta is 1; allowed", "10 scaled steps");
  refuses("sigmoid", 10, (const char *const[]){"start", "3", NULL}, "process.end is 3; allowed: above process.start", "an end at its start");
  refuses("log_snr", 10, (const char *const[]){"gamma_last", "-14", NULL}, "process.gamma_last is -14; allowed: above process.gamma_first (-13.3)", "less noise at the end");
  refused(20, NULL, "process.timesteps is 20: linear's beta_20 = 0.02 x 1000 / 20 = 1; allowed",
          "20 scaled steps");
  refused(2, NULL, "linear's beta_2", "2 scaled steps");
  refused(500, falling, "linear's beta_1 = 0.5 x 1000 / 500 = 1;", "a large beta_first");
  accepted(21, NULL, "21 scaled steps");
  accepted(2, unscaled, "2 steps with process.scale false");
  return done();
}
