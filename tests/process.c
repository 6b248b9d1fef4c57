/* SPDX-License-Identifier: Apache-2.0 */
/* tests/process.c - coefficients, KL terms, decoder and prior against golden values and closed forms. */
#include "diffusion/process.h"
#include "diffusion/exact.h"
#include "golden/diffusion.h"
#include "make_process.h"
#include "near.h"
#include "tap.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void coefficients(void)
{
  for (size_t i = 0; i < COUNT(golden_schedule); i++) {
    const char *name = golden_schedule[i].name;
    const int t = golden_schedule[i].t, r = t - 1;
    dx_process p = process_of(name, golden_schedule[i].T, DX_VARIANCE_LARGE);
    /* A product of T factors rounds T times. */
    const double share = 1e-15 * golden_schedule[i].T + 1e-13;

    ok(near(p.beta[r], golden_schedule[i].beta, share) &&
           near(p.abar[r], golden_schedule[i].abar, share) &&
           near(p.nbar[r], golden_schedule[i].nbar, share) &&
           near(p.post_var[r], golden_schedule[i].post_var, share) &&
           near(p.c1[r], golden_schedule[i].c1, share) && near(p.c2[r], golden_schedule[i].c2, share) &&
           fabs(dx_process_log_snr(&p, t) - golden_schedule[i].log_snr) < 10 * share,
       "%s %d: beta, abar, 1 - abar, beta~, c1, c2, log-SNR at t = %d", name, golden_schedule[i].T, t);
    dx_process_destroy(&p);
  }
}

/* The tables of the other projects, which count from 0. */
static void published(void)
{
  dx_process a = process_of("linear", 1000, DX_VARIANCE_SMALL), b = process_of("linear", 4000, DX_VARIANCE_SMALL);
  dx_process c = process_of("cosine", 1000, DX_VARIANCE_LARGE), d = process_of("cosine", 4000, DX_VARIANCE_LARGE);
  bool small = true, large = true;

  ok(near(a.abar[999], 4.03582976537568e-05, 1e-12), "linear 1000: last abar");
  ok(near(a.abar[500], .0777966583650239, 1e-12), "linear 1000: abar at index 500");
  ok(near(a.post_var[1], 5.45318766130219e-05, 1e-11), "linear 1000: beta~ at index 1");
  ok(near(a.post_log[0], -9.81672513529567, 1e-12), "linear 1000: clipped log beta~ at index 0");
  ok(near(b.abar[3999], 4.24665227580225e-05, 1e-12), "linear 4000: last abar");
  ok(near(c.beta[0], 4.12842248219691e-05, 1e-11), "cosine 1000: beta at index 0");
  ok(near(c.abar[500], .492285172448803, 1e-12), "cosine 1000: abar at index 500");
  ok(near(c.abar[999], 2.42876690703486e-09, 1e-10), "cosine 1000: last abar");
  ok(near(d.abar[3999], 1.51798046885145e-10, 1e-10), "cosine 4000: last abar");
  ok(a.abar_prev[0] == 1 && a.post_var[0] == 0 && a.c1[0] == 1 && a.c2[0] == 0,
     "t = 1: mu~ is x_0, beta~ is 0");
  for (int i = 0; i < 1000; i++) {
    small = small && a.var[i] == a.post_var[i ? i : 1] && a.log_var[i] == a.post_log[i];
    large = large && c.var[i] == (i ? c.beta[i] : c.post_var[1]) &&
            near(exp(c.log_var[i]), c.var[i], 1e-13);
  }
  ok(small, "fixed-small is beta~, the first row clipped");
  ok(large, "fixed-large is beta, the first row beta~_2");
  ok(near(a.post_log[500], -4.600049739985, 1e-12), "linear 1000: log beta~ at index 500");
  ok(near(log(a.beta[500]), -4.599192094442, 1e-12), "linear 1000: log beta at index 500");
  dx_process_destroy(&a);
  dx_process_destroy(&b);
  dx_process_destroy(&c);
  dx_process_destroy(&d);
}

static void terms(void)
{
  dx_process small = process_of("linear", 1000, DX_VARIANCE_SMALL),
             large = process_of("linear", 1000, DX_VARIANCE_LARGE);
  const dx_decoder decoder = {.variance = 0.0125, .log_scale = log(0.75)};

  ok(near(dx_normal_kl(0.1, -1, 0.2, -0.5), 0.061508936209817, 1e-12), "normal_kl");
  ok(dx_normal_kl(1, -3, 1, -3) == 0, "normal_kl of equal distributions is 0");
  ok(near(dx_normal_kl(0, 0, 0, 1e-5), 0.25e-10, 1e-5), "normal_kl keeps its digits near 0");
  for (size_t i = 0; i < COUNT(golden_vb); i++) {
    const dx_process *p = golden_vb[i].large ? &large : &small;
    const double found = dx_process_vb(p, &decoder, golden_vb[i].t, 3, golden_vb[i].x0_sq);

    ok(near(found, golden_vb[i].vb, 1e-11), "%s: L_%d of three dimensions, %.15g",
       golden_vb[i].large ? "fixed-large" : "fixed-small", golden_vb[i].t - 1, found);
  }
  ok(near(dx_process_prior(&large, 1, 0) / log(2), 5.8748e-10, 1e-4), "prior of x_0 = 0");
  ok(near(dx_process_prior(&large, 2, 2) / (2 * log(2)), 2.911294542e-05, 1e-9), "prior of |x_0| = 1");
  for (size_t i = 0; i < COUNT(golden_prior); i++) {
    dx_process p = process_of(golden_prior[i].name, golden_prior[i].T, DX_VARIANCE_LARGE);

    /* Of x_0 = 0 a share abar_T^2 / 2 is left, down to 1e-20: digits that no total ever shows. */
    ok(fabs(dx_process_prior(&p, 3, golden_prior[i].x0_sq) - golden_prior[i].prior) <
           1e-10 * golden_prior[i].prior + 1e-22,
       "%s %d: prior of %g", golden_prior[i].name, golden_prior[i].T, golden_prior[i].x0_sq);
    dx_process_destroy(&p);
  }
  dx_process_destroy(&small);
  dx_process_destroy(&large);
}

static void decoder(void)
{
  dx_process p = process_of("linear", 1000, DX_VARIANCE_LARGE);
  dx_process_config c = {.decoder_variance = "auto"};

  ok(dx_decoder_kind_of(&c, false, false) == DX_DECODER_OPTIMAL,
     "the decoder's variance is optimal unless asked otherwise");
  snprintf(c.decoder_variance, sizeof c.decoder_variance, "clipped");
  ok(dx_decoder_variance(&p, dx_decoder_kind_of(&c, false, false), 7) == p.post_var[1], "clipped: beta~_2");
  snprintf(c.decoder_variance, sizeof c.decoder_variance, "beta");
  ok(dx_decoder_variance(&p, dx_decoder_kind_of(&c, false, false), 7) == 1e-4, "beta: beta_1");
  snprintf(c.decoder_variance, sizeof c.decoder_variance, "optimal");
  ok(dx_decoder_variance(&p, dx_decoder_kind_of(&c, false, false), 7) == 7, "optimal: the error of x_0");
  snprintf(c.decoder_variance, sizeof c.decoder_variance, "learned");
  ok(dx_decoder_kind_of(&c, false, true) == DX_DECODER_LEARNED, "learned: the network's");
  snprintf(c.decoder_variance, sizeof c.decoder_variance, "auto");
  ok(dx_decoder_kind_of(&c, true, true) == DX_DECODER_LEARNED && dx_decoder_kind_of(&c, true, false) == DX_DECODER_CLIPPED,
     "auto: learned where the variance is, else clipped for 8-bit data");
  dx_process_destroy(&p);
}

/* Data N(0, s2), exact predictor: bits/dim of each term by closed form. */
static void oracle(void)
{
  for (size_t i = 0; i < COUNT(golden_total); i++) {
    const bool small = !strcmp(golden_total[i].variance, "fixed-small"),
               best = !strcmp(golden_total[i].variance, "optimal");
    const double s2 = golden_total[i].s2;
    dx_process p = process_of("linear", 1000, small ? DX_VARIANCE_SMALL : DX_VARIANCE_LARGE);
    dx_decoder d = {0};
    double total = dx_process_prior(&p, 1, s2);

    d.variance = dx_decoder_variance(
        &p, strcmp(golden_total[i].decoder, "clipped") ? DX_DECODER_OPTIMAL : DX_DECODER_CLIPPED,
        dx_exact_gaussian_mse(&p, 1, s2));
    for (int64_t t = 1; t <= 1000; t++) {
      const double v = dx_exact_gaussian_mse(&p, t, s2);

      if (best) {
        p.var[t - 1] = p.post_var[t - 1] + p.c1[t - 1] * p.c1[t - 1] * v;
        p.log_var[t - 1] = log(p.var[t - 1]);
      }
      total += dx_process_vb_expected(&p, &d, t, 1, v);
    }
    ok(fabs(total / log(2) - golden_total[i].bits) < 1e-11,
       "s^2 = %g, variance %s, decoder %s: total %.12f bits/dim", s2, golden_total[i].variance,
       golden_total[i].decoder, total / log(2));
    dx_process_destroy(&p);
  }
}

/* Linear, 1000 steps, s^2 = 1, fixed-large. */
static void oracle_terms(void)
{
  dx_process p = process_of("linear", 1000, DX_VARIANCE_LARGE);
  const dx_decoder best = {.variance = dx_exact_gaussian_mse(&p, 1, 1)},
                   clipped = {.variance = p.post_var[1]};
  const dx_decoder scaled = {.variance = best.variance, .log_scale = log(3)};
  const double bit = 1 / log(2);
  double sum = 0;

  for (int64_t t = 2; t <= 1000; t++)
    sum += bit * dx_process_vb_expected(&p, &best, t, 1, dx_exact_gaussian_mse(&p, t, 1));
  ok(fabs(sum - 6.643827077) < 1e-9, "sum of L_1 .. L_999");
  ok(fabs(bit * dx_process_vb_expected(&p, &best, 1, 1, best.variance) + 4.596760605) < 1e-9,
     "L_0, optimal decoder");
  ok(fabs(bit * dx_process_vb_expected(&p, &clipped, 1, 1, best.variance) + 4.432722533) < 1e-9,
     "L_0, clipped decoder");
  ok(near(bit * dx_process_vb_expected(&p, &best, 501, 1, dx_exact_gaussian_mse(&p, 501, 1)),
          6.186605e-04, 1e-6),
     "L at index 500");
  ok(near(bit * dx_process_vb_expected(&p, &best, 500, 1, dx_exact_gaussian_mse(&p, 500, 1)),
          6.242350e-04, 1e-6),
     "L at index 499");
  ok(near(bit * dx_process_prior(&p, 1, 1), 2.911e-05, 1e-3), "L_T");
  ok(near(dx_process_vb(&p, &scaled, 1, 5, 0.1) - dx_process_vb(&p, &best, 1, 5, 0.1), 5 * log(3),
          1e-12),
     "the decoder term counts the scale of the data once per dimension");
  dx_process_destroy(&p);
}

static dx_error *fill_given(const void *config, int64_t T, double *beta)
{
  for (int64_t i = 0; i < T; i++) beta[i] = 0.1;
  beta[T - 1] = *(const double *)config;
  return NULL;
}

static void refused(int64_t T, double last, const char *words)
{
  const dx_schedule given = {.name = "given", .fill = fill_given};
  const dx_process_config c = {.schedule = "given", .timesteps = T};
  dx_process p = {0};
  dx_error *e = dx_process_create(&c, &given, &last, DX_VARIANCE_LARGE, &p);

  ok(e && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), words) && !p.memory, "%s",
     e ? dx_error_text(e) : words);
  dx_error_free(e);
  dx_process_destroy(&p);
}

/* Lin et al. 2024: sqrt(abar) shifted and stretched, from its formula. */
static void shifted(void)
{
  const dx_process_config c = {.schedule = "linear", .timesteps = 1000, .zero_terminal = true};
  dx_process before = process_of("linear", 1000, DX_VARIANCE_LARGE), after = make_process(&c, DX_VARIANCE_LARGE);
  double worst = 0, first, last;

  first = sqrt(before.abar[0]);
  last = sqrt(before.abar[999]);
  for (int i = 0; i < 1000; i++)
    worst = fmax(worst, fabs(sqrt(after.abar[i]) - (sqrt(before.abar[i]) - last) * first / (first - last)));
  ok(worst < 1e-13 && after.abar[999] == 0 && after.abar[998] > 0, "zero_terminal: sqrt(abar) by the paper's formula, to %.1e", worst);
  ok(dx_process_prior(&after, 3, 7) == 0, "zero_terminal: x_T tells nothing, so L_T is 0");
  dx_process_destroy(&before);
  dx_process_destroy(&after);
}

int main(void)
{
  const dx_process_config short_one = {.schedule = "linear", .timesteps = 20};
  dx_process p;
  dx_error *e;

  coefficients();
  published();
  terms();
  decoder();
  oracle();
  oracle_terms();
  e = try_process(&short_one, DX_VARIANCE_LARGE, &p);
  ok(e && strstr(dx_error_text(e), "process.timesteps is 20"), "a schedule's refusal is passed on");
  dx_error_free(e);
  refused(1, 0.5, "process.timesteps is 1; allowed: at least 2");
  refused(10, 1.5, "beta_10 is 1.5; allowed");
  refused(10, NAN, "beta_10 is nan; allowed");
  refused(2000, 0.1, "abar_656 = ");
  shifted();
  dx_process_destroy(NULL);
  return done();
}
