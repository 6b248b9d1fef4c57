/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sampler.c - every sampler recovers a known Gaussian; plans and steps have their golden values. */
#include "diffusion/sampler.h"
#include "base/random.h"
#include "diffusion/exact.h"
#include "diffusion/objective.h"
#include "golden/diffusion.h"
#include "golden/heun.h"
#include "make_process.h"
#include "near.h"
#include "tap.h"

#include <assert.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { D = 2, N = 4000, T_MAX = 4000, VISITS = 2 * T_MAX };

static void set(const dx_sampler *s, settings *c, const char *const *pairs)
{
  assert(s->config_size <= sizeof *c);
  dx_option_presets(s->options, c);
  for (; pairs && *pairs; pairs += 2) {
    dx_error *e = dx_option_read(dx_option_find(s->options, pairs[0]), pairs[1], c);

    assert(!e);
    dx_error_free(e);
  }
}

static void noise(uint64_t step, float *z)
{
  static double wide[N * D];
  const dx_stream stream = {.seed = 11, .purpose = DX_FOR_TEST, .step = step};

  dx_stream_normals(&stream, N * D, wide);
  for (int i = 0; i < N * D; i++) z[i] = (float)wide[i];
}

static void run(const dx_sampler *s, const void *config, const dx_objective *o, const dx_exact *exact,
                float *x)
{
  static float eps[N * D], x0hat[N * D], z[N * D], memory[N * D];
  static int32_t each[N];
  static dx_level level[N];
  static dx_visit v[VISITS];
  const int64_t visits = s->plan(config, o->process, NULL);

  assert(visits <= VISITS);
  s->plan(config, o->process, v);
  noise(0, x);
  for (int64_t i = 0; i < visits; i++) {
    for (int j = 0; j < N; j++) {
      each[j] = (int32_t)v[i].t;
      level[j] = v[i].level;
    }
    dx_exact_predict(exact, o->predict, N, each, level, x, eps, NULL);
    dx_objective_x0(o, N, each, level, x, eps, x0hat);
    if (v[i].draw) noise((uint64_t)v[i].draw, z);
    s->step(config, o->process, o->kernel, &v[i], N * D, x0hat, z, memory, x);
  }
}

/* Mean and variance within 4 standard errors. Every step is taken: 50 steps of ddim narrow this
   Gaussian by 9 hundredths, 500 by 1, and 4 standard errors of the variance are 9. */
static void recovers(const dx_sampler *s, const char *const *pairs, dx_variance variance,
                     const char *what)
{
  static const double weight[] = {1}, mean[D] = {0.5, -1}, sigma[] = {0.7};
  const dx_mixture m = {.count = 1, .dim = D, .weight = weight, .mean = mean, .sigma = sigma};
  static float x[N * D];
  dx_process p = process_of("linear", 500, variance);
  dx_kernels k;
  const dx_objective o = {.process = &p, .kernel = &k, .predict = dx_predict_find("noise"), .dim = D,
                          .reverse = dx_reverse_find("fixed-large")};
  dx_exact *exact;
  dx_error *e = dx_exact_create(&m, 0, 1, &p, &exact);
  settings c;

  assert(!e);
  dx_error_free(e);
  dx_kernels_ref(&k);
  set(s, &c, pairs);
  run(s, &c, &o, exact, x);
  for (int j = 0; j < D; j++) {
    double sum = 0, square = 0;

    for (int i = 0; i < N; i++) sum += x[i * D + j];
    for (int i = 0; i < N; i++) square += (x[i * D + j] - sum / N) * (x[i * D + j] - sum / N);
    ok(fabs(sum / N - mean[j]) < 4 * 0.7 / sqrt(N), "%s %s: mean %.4f of %g", s->name, what, sum / N,
       mean[j]);
    ok(fabs(square / (N - 1) - 0.49) < 4 * 0.49 * sqrt(2.0 / N), "%s %s: variance %.4f of 0.49",
       s->name, what, square / (N - 1));
  }
  dx_exact_destroy(exact);
  dx_process_destroy(&p);
}

/* Visits stand at their steps and have normals of their own; without two stages they fall strictly from T to 1, with them
   each step's second is less noisy than its first, and no other than the next step's first where no noise is added. */
static void plans(const dx_sampler *s)
{
  static const int64_t lengths[] = {2, 21, 50, 51, 999, 1000, 4000};
  static dx_visit v[VISITS];
  int wrong = 0;

  for (size_t i = 0; i < COUNT(lengths); i++) {
    dx_process p = process_of("cosine", lengths[i], DX_VARIANCE_LARGE);
    settings c;
    int64_t n;

    set(s, &c, NULL);
    n = s->plan(&c, &p, NULL);
    wrong += n < 1 || n > VISITS || s->plan(&c, &p, v) != n || v[0].stage || v[n - 1].stage;
    wrong += !s->remembers && (n > lengths[i] || v[0].t != lengths[i] || v[n - 1].t != 1);
    for (int64_t j = 0; j < n; j++) {
      wrong += v[j].last != (j == n - 1) || v[j].t < 1 || v[j].t > lengths[i] || v[j].level.nbar != p.nbar[v[j].t - 1];
      wrong += v[j].draw == lengths[i] + 1;
      wrong += j > 0 && (v[j].stage > v[j - 1].stage || !s->remembers ? v[j].t >= v[j - 1].t : v[j].t < v[j - 1].t);
    }
    dx_process_destroy(&p);
  }
  ok(!wrong, "%s: plans fall to the end", s->name);
}

/* improved-diffusion's spacing by array index: "10" of 1000 is 0, 111, ..., 999; "100" of 4000 is
   0, 40, 81, 121, 162, 202, ..., 3999. */
static int64_t ddim_plan_of(int64_t T, const char *steps, dx_visit *v)
{
  const dx_sampler *s = dx_sampler_find("ddim");
  dx_process p = process_of("cosine", T, DX_VARIANCE_LARGE);
  settings c;

  set(s, &c, (const char *const[]){"steps", steps, NULL});
  const int64_t n = s->plan(&c, &p, v);
  dx_process_destroy(&p);
  return n;
}

static void ddim_plan(void)
{
  static const int64_t start[] = {0, 40, 81, 121, 162, 202};
  static dx_visit v[T_MAX];
  int wrong = 0;

  wrong += ddim_plan_of(1000, "10", v) != 10;
  for (int i = 0; i < 10; i++) wrong += v[9 - i].t - 1 != 111 * i;
  ok(!wrong, "ddim: 10 steps of 1000");
  wrong = ddim_plan_of(4000, "100", v) != 100 || v[0].t != 4000;
  for (int i = 0; i < 6; i++) wrong += v[99 - i].t - 1 != start[i];
  ok(!wrong, "ddim: 100 steps of 4000");
  ok(ddim_plan_of(4000, "1", v) == 1 && v[0].t == 4000, "ddim: one step starts at T");
  ok(ddim_plan_of(6, "3", v) == 3 && v[1].t == 3 && v[2].t == 1, "ddim: index 2.5 is rounded to the even 2");
  ok(ddim_plan_of(30, "50", v) == 30 && v[29].t == 1, "ddim: no more steps than T");
}

/* One step from t to s; s 0: the last one. */
static float one_step(const dx_sampler *s, const void *config, const dx_process *p, const dx_kernels *k, int64_t t, int64_t to,
                      float x, float x0, float z)
{
  dx_visit v[2] = {dx_visit_of(p, t, t), to > 0 ? dx_visit_of(p, to, to) : (dx_visit){0}};

  v[0].last = to == 0;
  s->step(config, p, k, v, 1, &x0, &z, NULL, &x);
  return x;
}

static void ddim_steps(void)
{
  const dx_sampler *s = dx_sampler_find("ddim");
  dx_process p = process_of("linear", 1000, DX_VARIANCE_LARGE);
  dx_kernels k;

  dx_kernels_ref(&k);
  for (size_t i = 0; i < COUNT(golden_ddim); i++) {
    char eta[32];
    settings c;

    snprintf(eta, sizeof eta, "%g", golden_ddim[i].eta);
    set(s, &c, (const char *const[]){"eta", eta, NULL});
    const float xs = one_step(s, &c, &p, &k, golden_ddim[i].t, golden_ddim[i].s, 0.75f, -0.5f, 1.25f);
    const float quiet = one_step(s, &c, &p, &k, golden_ddim[i].t, golden_ddim[i].s, 0.75f, -0.5f, 0);
    ok(near(xs, golden_ddim[i].xs, 5e-7) && fabs((xs - quiet) / 1.25 - golden_ddim[i].sigma) < 2e-7,
       "ddim: from %d to %d with eta %s, x %.7f, sigma %.7f", golden_ddim[i].t, golden_ddim[i].s, eta, xs,
       (xs - quiet) / 1.25);
  }
  dx_process_destroy(&p);
}

/* With eta 1 and every step DDIM is DDPM with beta~. */
static void ddim_is_ancestral(void)
{
  const dx_sampler *a = dx_sampler_find("ancestral"), *d = dx_sampler_find("ddim");
  dx_process p = process_of("linear", 1000, DX_VARIANCE_SMALL);
  dx_kernels k;
  settings c;
  double worst = 0;

  dx_kernels_ref(&k);
  set(d, &c, (const char *const[]){"eta", "1", NULL});
  for (int64_t t = 1; t <= 1000; t++) {
    const float one = one_step(a, NULL, &p, &k, t, t - 1, 0.75f, -0.5f, 1.25f);
    const float other = one_step(d, &c, &p, &k, t, t - 1, 0.75f, -0.5f, 1.25f);

    worst = fmax(worst, fabs((double)one - other));
  }
  ok(worst < 3e-7, "ddim with eta 1 and every step is ancestral with fixed-small, to %.1e", worst);
  dx_process_destroy(&p);
}

/* Visits of heun at any sigma, with their count. */
static int64_t heun_plan(const char *const *settings_, settings *c, const dx_process *p, dx_visit *v)
{
  const dx_sampler *s = dx_sampler_find("heun");

  set(s, c, settings_);
  assert(s->plan(c, p, NULL) <= VISITS);
  return s->plan(c, p, v);
}

static double sigma_at(dx_level l) { return sqrt(l.nbar / l.abar); }

/* Every step of diffusers' KarrasVeScheduler, from where it stood itself, with the normals that it had. */
static void heun_steps(void)
{
  const dx_sampler *s = dx_sampler_find("heun");
  const dx_mixture m = {.count = 2, .dim = 1, .weight = heun_weight, .mean = heun_mean, .sigma = heun_width};
  dx_process p = process_of("cosine", 1000, DX_VARIANCE_LARGE);
  dx_kernels k;
  const dx_objective o = {.process = &p, .kernel = &k, .predict = dx_predict_find("edm"), .dim = 1,
                          .reverse = dx_reverse_find("fixed-large")};
  dx_exact *exact;

  p.sigma_data = 0.5;
  dx_kernels_ref(&k);
  dx_error *e = dx_exact_create(&m, 0, 1, &p, &exact);
  assert(!e);
  dx_error_free(e);
  for (size_t g = 0; g < COUNT(golden_heun); g++) {
    dx_visit v[2 * HEUN_STEPS];
    settings c;
    const int64_t n = heun_plan(golden_heun[g].settings, &c, &p, v);
    float x[HEUN_D], z[HEUN_D], memory[HEUN_D];
    double worst = 0, off = 0;

    for (int j = 0; j < HEUN_D; j++) x[j] = (float)(golden_heun[g].x[0][j] * sqrt(v[0].level.abar));
    for (int64_t i = 0; i < n; i++) {
      const int64_t next = i / 2 + 1;

      for (int j = 0; j < HEUN_D; j++) {
        const int32_t t = (int32_t)v[i].t;
        float out, x0hat;

        dx_exact_predict(exact, o.predict, 1, &t, &v[i].level, &x[j], &out, NULL);
        dx_objective_x0(&o, 1, &t, &v[i].level, &x[j], &out, &x0hat);
        z[j] = next < HEUN_STEPS ? (float)heun_z[next][j] : 0;
        s->step(&c, &p, &k, &v[i], 1, &x0hat, &z[j], &memory[j], &x[j]);
      }
      if (v[i].stage == 0 && !v[i].last) continue;
      if (v[i].stage == 1) off = fmax(off, fabs(sigma_at(v[i].level) / golden_heun[g].sigma[next] - 1));
      for (int j = 0; j < HEUN_D; j++) { /* noise that was added on the way to the next step is taken away again */
        const double now = v[i].last ? 0 : golden_heun[g].sigma[next], up = v[i].last ? 0 : sigma_at(v[i + 1].level);
        const double a = v[i].last ? 1 : sqrt(v[i + 1].level.abar), noise_ = atof(golden_heun[g].settings[15]);
        const double found = x[j] / a - (v[i].draw ? sqrt(up * up - now * now) * noise_ * z[j] : 0);

        worst = fmax(worst, fabs(found - golden_heun[g].x[next][j]) / sqrt(now * now + 0.3));
      }
    }
    ok(n == 2 * HEUN_STEPS - 1 && fabs(sigma_at(v[0].level) / golden_heun[g].sigma[0] - 1) < 1e-12 && off < 1e-12 && worst < 4e-6,
       "heun: %d steps of diffusers with churn %s, to %.1e; sigmas to %.0e", (int)n, golden_heun[g].settings[9], worst, off);
  }
  dx_exact_destroy(exact);
  dx_process_destroy(&p);
}

/* Karras et al. 2022, eq. 5, as EDM's program prints it. */
static void heun_sigmas(void)
{
  static const double sigma[] = {80, 57.58598472, 40.78557380, 28.37458460, 19.35245298};
  dx_process p = process_of("cosine", 1000, DX_VARIANCE_LARGE);
  dx_visit v[35];
  settings c;
  int wrong;

  p.sigma_data = 0.5;
  wrong = heun_plan(NULL, &c, &p, v) != 35;
  for (int i = 0; i < 5; i++) wrong += !near(sigma_at(v[2 * i].level), sigma[i], 1e-9);
  wrong += !near(sigma_at(v[32].level), 0.00752801996, 1e-9) || !near(sigma_at(v[34].level), 0.002, 1e-12);
  ok(!wrong, "heun: the sigmas of 18 steps, 35 predictions");
  dx_process_destroy(&p);
}

/* On Gaussian data the ODE ends at X s / sqrt(s^2 + sigma^2): the error is of second order, Euler's (ddim's) of first. */
static double ode_error(const char *steps, bool euler)
{
  const double s2 = 0.49;
  dx_process p = process_of("cosine", 1000, DX_VARIANCE_LARGE);
  const dx_sampler *s = dx_sampler_find(euler ? "ddim" : "heun");
  static dx_visit v[VISITS];
  dx_kernels k;
  settings c;
  float x = 0.3f, memory;

  p.sigma_data = 0.5;
  dx_kernels_ref(&k);
  const int64_t n = heun_plan((const char *const[]){"steps", steps, "sigma_max", "20", NULL}, &c, &p, v);
  const double end = x / sqrt(v[0].level.abar) * sqrt(s2 / (s2 + 400));
  if (euler) set(s, &c, (const char *const[]){"eta", "0", NULL});
  for (int64_t i = 0; i < n; i++) {
    const dx_level l = v[i].level;
    const float x0hat = (float)(sqrt(l.abar) * s2 / (l.abar * s2 + l.nbar) * x), z = 0;

    if (euler && v[i].stage == 1) continue;
    if (euler && !v[i].last) v[i + 1].t = v[i].t - 1; /* only a check of falling t */
    s->step(&c, &p, &k, &v[i], 1, &x0hat, &z, &memory, &x);
  }
  dx_process_destroy(&p);
  return fabs(x / end - 1);
}

static void heun_order(void)
{
  const double heun = ode_error("12", false) / ode_error("48", false), euler = ode_error("12", true) / ode_error("48", true);

  ok(heun > 12 && euler < 6, "heun: four times the steps, %.1f times the precision; Euler's %.1f", heun, euler);
}

static void heun_refusals(void)
{
  static const char *const wrong[][3] = {{"sigma_min", "90", "sample.sigma_min"}, {"churn_max", "0", NULL}, {"churn_min", "1e6", NULL}};
  const dx_sampler *s = dx_sampler_find("heun");
  settings c;

  for (size_t i = 0; i < COUNT(wrong); i++) {
    const char *key = NULL;

    set(s, &c, (const char *const[]){wrong[i][0], wrong[i][1], NULL});
    dx_error *e = s->check(&c, &key);
    ok(!e == !wrong[i][2] && (!e || !strcmp(key, wrong[i][2])), "heun with %s %s is %s", wrong[i][0], wrong[i][1], e ? "refused" : "taken");
    dx_error_free(e);
  }
  set(s, &c, (const char *const[]){"churn_min", "2", "churn_max", "1", NULL});
  const char *key = NULL;
  dx_error *e = s->check(&c, &key);
  ok(e && !strcmp(key, "sample.churn_min"), "heun with churn between 2 and 1 is refused");
  dx_error_free(e);
}

int main(void)
{
  static const char *const every[] = {"steps", "500", NULL}, *const fresh[] = {"steps", "500", "eta", "1", NULL};

  for (int i = 0; dx_sampler_at(i); i++) {
    const dx_sampler *s = dx_sampler_at(i);

    ok(dx_sampler_find(s->name) == s && s->help, "%s is found by its name", s->name);
    plans(s);
    recovers(s, dx_option_find(s->options, "steps") ? every : NULL, DX_VARIANCE_SMALL, "with fixed-small");
    recovers(s, dx_option_find(s->options, "steps") ? every : NULL, DX_VARIANCE_LARGE, "with fixed-large");
  }
  ok(!dx_sampler_find("ddin") && !dx_sampler_at(-1) && !dx_sampler_at(1000), "no other sampler");
  recovers(dx_sampler_find("ddim"), fresh, DX_VARIANCE_LARGE, "with eta 1");
  ddim_plan();
  ddim_steps();
  ddim_is_ancestral();
  recovers(dx_sampler_find("heun"), (const char *const[]){"steps", "100", "churn", "40", NULL}, DX_VARIANCE_LARGE, "with churn");
  heun_steps();
  heun_sigmas();
  heun_order();
  heun_refusals();
  return done();
}
