/* SPDX-License-Identifier: Apache-2.0 */
/* train/optimizer.c - Adam (Kingma & Ba 2015, algorithm 1), AdamW (Loshchilov & Hutter 2019,
   algorithm 2), warm-up, decay, clipping; the loop itself is the kernel slot `adam`. And moving averages:
   which there are, and how fast they forget. */
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"

const dx_option dx_train_options[] = {
  DX_OPTION(dx_train_config, steps, "1000", 0, 1e12, "optimizer steps of the whole run", .role = DX_FREE,
            .alias = "epochs|num_epochs|iterations|num_iterations|max_steps|max_train_steps|lr_anneal_steps"),
  DX_OPTION(dx_train_config, batch, "128", 1, 1e9, "examples of one step, over all ranks"),
  DX_OPTION(dx_train_config, grain, "8", 1, 4096,
            "examples that one thread, or one crew (run.crew), computes at a time; divides batch and fixes the order of sums"),
  DX_OPTION(dx_train_config, t_sampling, "uniform", 0, 0,
            "how each example's t is drawn: alone (uniform), spread over the batch (stratified, antithetic), or by the "
            "second moment of the last losses of each t (importance); or any amount of noise, its sigma log-normal (log-normal)",
            .choices = "uniform|stratified|antithetic|importance|log-normal"),
  DX_OPTION(dx_train_config, optimizer, "adam", 0, 0, "how gradients become steps",
            .choices = "adam|adamw"),
  DX_OPTION(dx_train_config, rate, "2e-4", 0, 1e30, "learning rate after warm-up", .alias = "lr"),
  DX_OPTION(dx_train_config, beta1, "0.9", 0, 0.999999, "decay of Adam's first moment"),
  DX_OPTION(dx_train_config, beta2, "0.999", 0, 0.9999999, "decay of Adam's second moment"),
  DX_OPTION(dx_train_config, epsilon, "1e-8", 1e-30, 1, "Adam's guard against division by zero"),
  DX_OPTION(dx_train_config, weight_decay, "0", 0, 1, "decoupled weight decay, with optimizer adamw"),
  DX_OPTION(dx_train_config, warmup, "0", 0, 1e12, "steps over which the rate rises in a line to its value"),
  DX_OPTION(dx_train_config, decay, "none", 0, 0, "how the rate falls to 0 at the last step; a finished run that is given more steps has fallen once already",
            .choices = "none|cosine|linear"),
  DX_OPTION(dx_train_config, clip, "none", 0, 1e30, "bound of the gradient's global norm",
            .words = "none=0"),
  DX_OPTION(dx_train_config, ema, "none", 0, 0.9999999, "rate of the moving average of the weights; of a list each has one",
            .words = "none=0"),
  DX_OPTION(dx_train_config, ema_warmup, "none", 0, 0,
            "how averages forget their start: step n decays by at most (1 + n) / (10 + n) (inverse), or so that half is "
            "forgotten within a twentieth of the steps done (half-life)", .choices = "none|inverse|half-life", .before = "none"),
  DX_OPTION(dx_train_config, log_every, "100", 1, 1e12, "steps between rows of the record's group train",
            .role = DX_FREE),
  DX_OPTION(dx_train_config, by_t_every, "1000", 1, 1e12,
            "steps in a window of the record's group train_by_t"),
  DX_OPTION(dx_train_config, checkpoint_every, "1000", 1, 1e12, "steps between checkpoints",
            .role = DX_FREE),
  DX_OPTION(dx_train_config, init_from, "none", 0, 0,
            "checkpoint or run folder whose raw weights a new run starts from, or none"),
  DX_OPTION_END
};

double dx_rate(const dx_train_config *c, int64_t done)
{
  const double at = (double)done, steps = (double)(c->steps > 1 ? c->steps : 1);
  double rate = c->rate, sine, cosine;

  if (done < c->warmup) rate *= (at + 1) / (double)c->warmup;
  if (!strcmp(c->decay, "linear")) rate *= fmax(0, 1 - at / steps);
  if (!strcmp(c->decay, "cosine")) {
    dx_sincos(3.14159265358979323846 * fmin(1, at / steps), &sine, &cosine);
    rate *= 0.5 * (1 + cosine);
  }
  return rate;
}

double dx_clip_factor(double clip, double norm) { return clip > 0 && norm > clip ? clip / norm : 1; }

dx_adam dx_adam_of(const dx_train_config *c, int64_t done, double grad_factor)
{
  const double k = (double)(done + 1), rate = dx_rate(c, done);
  /* as the kernel has them: 1 - 0.999 differs by 1.3e-5 of it, and the corrections must fit the moments */
  const double beta1 = (double)(float)c->beta1, beta2 = (double)(float)c->beta2;
  /* beta^k; beta = 0 leaves no trace of the past */
  const double past1 = beta1 > 0 ? dx_exp(k * dx_log(beta1)) : 0;
  const double past2 = beta2 > 0 ? dx_exp(k * dx_log(beta2)) : 0;
  const double root = sqrt(1 - past2);

  return (dx_adam){
    .rate = (float)(rate * root / (1 - past1)),
    .beta1 = (float)c->beta1,
    .beta2 = (float)c->beta2,
    .eps = (float)(c->epsilon * root),
    .decay = (float)(1 - rate * c->weight_decay),
    .grad_scale = (float)grad_factor,
    .ema = dx_averages(c) ? (float)dx_average_decay(c, 1, done) : 0,
  };
}

int dx_averages(const dx_train_config *c) { return c->ema.n == 1 && c->ema.v[0] == 0 ? 0 : (int)c->ema.n; }

double dx_average_decay(const dx_train_config *c, int place, int64_t done)
{
  const double rate = c->ema.v[place - 1], n = (double)(done + 1);

  if (!strcmp(c->ema_warmup, "inverse")) return fmin(rate, (1 + n) / (10 + n));
  /* a half-life of 0.05 steps for each step done: 0.5^(1 / (0.05 done)) */
  if (!strcmp(c->ema_warmup, "half-life")) return done > 0 ? fmin(rate, dx_exp(-20 * DX_LN2 / (double)done)) : 0;
  return rate;
}

const char *dx_weights_name(const dx_train_config *c, int place, char name[DX_WEIGHTS_NAME])
{
  char rate[DX_WEIGHTS_NAME - 8];

  if (place == 0 || dx_averages(c) == 1) {
    snprintf(name, DX_WEIGHTS_NAME, place ? "ema" : "raw");
    return name;
  }
  dx_real_print(c->ema.v[place - 1], rate, sizeof rate);
  snprintf(name, DX_WEIGHTS_NAME, "ema-%s", rate);
  return name;
}

dx_error *dx_weights_find(const dx_train_config *c, const char *name, int *place)
{
  const int n = dx_averages(c);
  const bool of_rate = !strncmp(name, "ema-", 4) && name[4];
  char *end = NULL, one[DX_WEIGHTS_NAME], rates[DX_REALS_MAX * (DX_WEIGHTS_NAME + 2)] = "";
  const double rate = of_rate ? strtod(name + 4, &end) : 0;

  *place = strcmp(name, "ema") || n == 0 ? 0 : 1;
  if (!strcmp(name, "ema") || !strcmp(name, "raw")) return NULL;
  for (int i = 1; i <= n; i++) {
    if (of_rate && !*end && c->ema.v[i - 1] == rate) *place = i;
    dx_real_print(c->ema.v[i - 1], one, sizeof one);
    snprintf(rates + strlen(rates), sizeof rates - strlen(rates), ", ema-%s", one);
  }
  if (*place) return NULL;
  return DX_FAIL(CONFIG, "is %s; allowed: raw, ema (%s)%s", name,
                 n > 1 ? "the first of train.ema" : n ? "the average" : "raw, too, as train.ema is none", rates);
}

/* Each rate of a list must have an average of its own. */
static bool averages_wrong(const dx_train_config *c, char words[96])
{
  for (int i = 0; i < dx_averages(c); i++) {
    int same = 0;

    for (int j = 0; j < i; j++) same |= c->ema.v[j] == c->ema.v[i];
    if (c->ema.v[i] == 0 || same) {
      snprintf(words, 96, "has %.9g in place %d; allowed in a list: rates above 0, each once", c->ema.v[i], i + 1);
      return true;
    }
  }
  return false;
}

bool dx_train_config_wrong(const dx_train_config *c, const char **key, char words[96])
{
  if (averages_wrong(c, words)) {
    *key = "train.ema";
    return true;
  }
  if (c->batch % c->grain) {
    *key = "train.batch";
    snprintf(words, 96, "is %lld, no multiple of train.grain (%lld)", (long long)c->batch, (long long)c->grain);
    return true;
  }
  if (c->weight_decay > 0 && strcmp(c->optimizer, "adamw")) {
    *key = "train.weight_decay";
    snprintf(words, 96, "is %g and needs train.optimizer: adamw (here %s)", c->weight_decay, c->optimizer);
    return true;
  }
  return false;
}
