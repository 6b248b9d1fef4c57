/* SPDX-License-Identifier: Apache-2.0 */
/* tests/decoder.c - the discretised Gaussian against improved-diffusion's formula and published values. */
#include "diffusion/process.h"
#include "golden/decoder.h"
#include "tap.h"

#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static float value_of(int v) { return (float)((v - 127.5) / 127.5); }

static double log_likelihood(double variance, float x0, float x0hat)
{
  const dx_decoder d = {.variance = variance, .bytes = true};

  return -dx_decoder_bytes(&d, 1, &x0, &x0hat);
}

static void table(void)
{
  double worst = 0;

  for (size_t i = 0; i < COUNT(golden_decoder); i++) {
    const double expected = golden_decoder[i].log_likelihood;
    const double found = log_likelihood(golden_decoder[i].variance, value_of(golden_decoder[i].value),
                                        golden_decoder[i].x0hat);
    /* Near the floor of 1e-12 the difference of two numbers near 1 keeps four digits. */
    const double allowed = expected < -20 ? 1e-3 : expected < -12 ? 1e-8 : 1e-11;
    const double share = fabs(found - expected) / allowed;

    if (!(share <= worst)) worst = share;
  }
  ok(worst < 1, "%zu values of improved-diffusion's formula, worst at %.2g of what is allowed",
     COUNT(golden_decoder), worst);
}

/* Read from improved-diffusion itself, linear schedule, T = 1000. */
static void published(void)
{
  const double v = exp(-9.81672513529567); /* beta~_2, its log clipped */

  ok(fabs(log_likelihood(v, value_of(100), value_of(100)) + 0.905018114211) < 2e-6, "the centre of a cell");
  ok(fabs(log_likelihood(v, 0, 2 / 255.0f) + 1.418603924152) < 2e-6, "the mean one cell off");
  ok(fabs(log_likelihood(v, 1, 1) + 0.353441208664) < 1e-9 && fabs(log_likelihood(v, -1, -1) + 0.353441208664) < 1e-9,
     "the cells at both ends are open");
  ok(fabs(log_likelihood(v, 1, -1) - log(1e-12)) < 1e-9 && fabs(log_likelihood(v, 0, 1) - log(1e-12)) < 1e-9,
     "no probability below 1e-12");
}

/* The 256 cells share out all of the probability. */
static void whole(void)
{
  double worst = 0;

  for (int k = 0; k < 5; k++) {
    const float mean = -1.1f + 0.53f * (float)k;
    double sum = 0;

    for (int v = 0; v < 256; v++) sum += exp(log_likelihood(0.004, value_of(v), mean));
    if (!(fabs(sum - 1) <= worst)) worst = fabs(sum - 1);
  }
  ok(worst < 2e-6, "the cells add up to 1, off by at most %.1e", worst);
}

static void sums(void)
{
  const dx_decoder d = {.variance = 0.01, .bytes = true};
  const float x[3] = {value_of(0), value_of(91), value_of(255)}, m[3] = {-0.97f, -0.25f, 0.9f};
  double sum = 0;

  for (int i = 0; i < 3; i++) sum -= log_likelihood(0.01, x[i], m[i]);
  ok(dx_decoder_bytes(&d, 3, x, m) == sum, "dimensions add up");
}

static void kinds(void)
{
  dx_process_config c = {.decoder_variance = "auto"};

  ok(dx_decoder_kind_of(&c, true, false) == DX_DECODER_CLIPPED && dx_decoder_kind_of(&c, false, false) == DX_DECODER_OPTIMAL,
     "auto: clipped for 8-bit data, else optimal");
  strcpy(c.decoder_variance, "optimal");
  ok(dx_decoder_kind_of(&c, true, false) == DX_DECODER_OPTIMAL, "what is asked for is kept");
}

int main(void)
{
  table();
  published();
  whole();
  sums();
  kinds();
  return done();
}
