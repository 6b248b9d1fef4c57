/* SPDX-License-Identifier: Apache-2.0 */
/* train/optimizer.c - Adam (Kingma & Ba 2015, algorithm 1), AdamW (Loshchilov & Hutter 2019,
   algorithm 2), warm-up, decay, clipping; the loop itself is the kernel slot `adam`. */
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/math.h"

const dx_option dx_train_options[] = {
  DX_OPTION(dx_train_config, steps, "1000", 0, 1e12, "optimizer steps of the whole run", .role = DX_FREE),
  DX_OPTION(dx_train_config, batch, "128", 1, 1e9, "examples of one step, over all ranks"),
  DX_OPTION(dx_train_config, grain, "8", 1, 4096,
            "examples that one thread computes at a time; divides batch and fixes the order of all sums"),
  DX_OPTION(dx_train_config, t_sampling, "uniform", 0, 0,
            "how each example's t is drawn: alone (uniform), spread over the batch (stratified, antithetic), or by the "
            "second moment of the last losses of each t (importance); or any amount of noise, its sigma log-normal (log-normal)",
            .choices = "uniform|stratified|antithetic|importance|log-normal"),
  DX_OPTION(dx_train_config, optimizer, "adam", 0, 0, "how gradients become steps",
            .choices = "adam|adamw"),
  DX_OPTION(dx_train_config, rate, "2e-4", 0, 1e30, "learning rate after warm-up"),
  DX_OPTION(dx_train_config, beta1, "0.9", 0, 0.999999, "decay of Adam's first moment"),
  DX_OPTION(dx_train_config, beta2, "0.999", 0, 0.9999999, "decay of Adam's second moment"),
  DX_OPTION(dx_train_config, epsilon, "1e-8", 1e-30, 1, "Adam's guard against division by zero"),
  DX_OPTION(dx_train_config, weight_decay, "0", 0, 1, "decoupled weight decay, with optimizer adamw"),
  DX_OPTION(dx_train_config, warmup, "0", 0, 1e12, "steps over which the rate rises in a line to its value"),
  DX_OPTION(dx_train_config, decay, "none", 0, 0, "how the rate falls to 0 at the last step",
            .choices = "none|cosine|linear"),
  DX_OPTION(dx_train_config, clip, "none", 0, 1e30, "bound of the gradient's global norm",
            .words = "none=0"),
  DX_OPTION(dx_train_config, ema, "none", 0, 0.9999999, "rate of the moving average of the weights",
            .words = "none=0"),
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
    .ema = (float)c->ema,
  };
}

bool dx_train_config_wrong(const dx_train_config *c, const char **key, char words[96])
{
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
