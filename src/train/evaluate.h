/* SPDX-License-Identifier: Apache-2.0 */
/* train/evaluate.h - the bound, term by term, over the test split and all ranks.

   Examples are those that a keyed permutation puts first. Each is evaluated at one t of
   each stratum: with evaluate.timesteps: all, every t is a stratum; else t = 1 is
   one and the others share t = 2..T, narrow where t is small (or, with evaluate.strata: neyman, where
   a pilot found large terms), each example drawing its own t of each: sum over strata of width x L_t is then an unbiased estimate of the
   example's total, and the totals of examples are independent. Noise depends on seed, row
   and t, not on the step: evaluations of two steps differ by the weights alone. */
#ifndef DX_TRAIN_EVALUATE_H
#define DX_TRAIN_EVALUATE_H
#include "train/sweep.h"

/* In nats; stderr over examples (ddof 1), NaN below 2. */
typedef struct {
  int64_t step, examples;
  int64_t ema;             /* which weights: 0 raw, else the place of their average in train.ema, from 1 */
  double prior, prior_stderr, decoder, decoder_stderr, total, total_stderr;
  double decoder_variance; /* normalised units */
  /* the bound of examples of the training split, and total - train; NaN where none were asked for */
  double train, train_stderr, gap, gap_stderr;
  double strata_gain;      /* of neyman strata: sum over strata of the variance of a drawn term, with as many cut at squares / with these,
                              by the pilot; else NaN */
  double strata_gain_low, strata_gain_high; /* 95 % of it, each example of the pilot judged by the strata that the others choose */
  double total_draw_stderr; /* of total from the draws of noise alone; NaN with one draw */
} dx_evaluation_head;

enum { DX_EVALUATION_ROWS = 7, DX_EVALUATION_CLASS_ROWS = 3 };

typedef struct {
  dx_evaluation_head head;
  int64_t timesteps;
  /* (T) each; NaN where count is 0 */
  double *vb, *vb_stderr, *mse, *x0_mse, *count, *variance;
  double *vb_draw_stderr; /* of vb from the draws of noise alone, pooled within examples; NaN with one draw */
  /* (classes) each, 0 without labels: the examples of each class, the mean of their totals (NaN without any) and its stderr */
  int64_t classes;
  double *class_count, *class_total, *class_stderr;
  uint64_t weights_hash; /* dx_problem_weights_hash of what was evaluated; rank 0, by_example */
  double *memory; /* owns them: dx_evaluation_numbers doubles in the order above */
  /* Where they were asked for, of each of head.examples examples, nats: its row in the test split and its total; with
     evaluate.per_example: terms its terms (examples, T), too. Rank 0; else NULL */
  int64_t *example_row;
  double *example_total, *example_vb;
  int32_t *example_label; /* of data with labels */
  double *class_vb;       /* (classes, T) of them, too: the mean terms of each class, NaN where none was evaluated */
} dx_evaluation;

static inline int64_t dx_evaluation_numbers(int64_t timesteps, int64_t classes)
{
  return DX_EVALUATION_ROWS * timesteps + DX_EVALUATION_CLASS_ROWS * classes;
}

void dx_evaluation_free(dx_evaluation *e);

/* DX_E_DATA where these data cannot be evaluated, DX_E_CONFIG where the budget is too small for them. Local */
dx_error *dx_evaluation_possible(const dx_problem *p) DX_MUST_CHECK;
/* What an evaluation costs: forward passes of one example. Local */
int64_t dx_evaluation_forwards(const dx_problem *p);
/* Examples of the test split, and of the training split for the gap, that the settings ask for. Local */
int64_t dx_evaluation_examples(const dx_problem *p);
int64_t dx_evaluation_train_examples(const dx_problem *p);
/* What one row of the table cannot see: false where all is well, else the words for key `*key`. */
bool dx_evaluate_config_wrong(const dx_evaluate_config *c, const char **key, char words[96]);

/* What is evaluated, and how much of it is kept. */
typedef struct {
  const float *w;     /* weights, whole; unread by the exact predictor */
  int64_t step;       /* of which step they are */
  int ema;            /* which weights: 0 raw, else the place of their average in train.ema, from 1 */
  bool by_example;    /* keep what each example has */
  dx_patience wait;
  const char *partial; /* path of what stands between a stop and the same evaluation again; whoever has put the result away removes it. NULL: none */
} dx_evaluation_task;

/* The result is whole on rank 0, its head on all.  Collective */
dx_error *dx_evaluate(dx_problem *p, const dx_evaluation_task *task, dx_evaluation *out) DX_MUST_CHECK;
#endif
