#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two short runs against the same training, bound and samples in PyTorch (torch_parity.py).
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
"$py" -c 'import h5py, numpy, torch' 2>/dev/null || skip "$py has no torch, numpy or h5py (PYTHON names another)"
export PYTHONDONTWRITEBYTECODE=1
parity() {        # parity CASE DATA: each comparison as a line of TAP
  "$py" "$top/tests/torch_parity.py" "$2" "$1" >verdicts 2>errors
  bad=$?
  while read -r verdict what; do ok "$verdict" "$1: $what"; done <verdicts
  ok $bad "$1: compared to the end"
  test $bad = 0 || show errors
}

# clipped AdamW with warm-up, cosine decay and an average
good "moons as a file" "$diffx" data make moons moons.h5 train=150 test=60
cat >cosine.yaml <<'Y'
seed: 12345678901
data:      {kind: file, file: moons.h5}
process:   {schedule: cosine, timesteps: 50}
model:     {kind: mlp, hidden: [32, 24]}
objective: {variance: fixed-small}
train:     {steps: 40, batch: 48, grain: 8, optimizer: adamw, rate: 2.0e-3, weight_decay: 0.05, warmup: 10, decay: cosine,
            clip: 0.6, ema: 0.9, log_every: 7, by_t_every: 25}
evaluate:  {grain: 16}
sample:    {count: 50, grain: 8}
Y
good "cosine: a run on two ranks" ranks 2 cosine.yaml output=cosine
good "cosine: evaluated with fixed-large" ranks 1 evaluate cosine objective.variance=fixed-large
parity cosine moons.h5

# Adam with dropout and linear decay, two averages with a warm-up beside the raw weights, an estimate from some timesteps, DDIM
good "mixture8 as a file" "$diffx" data make mixture8 mixture8.h5 train=100 test=70
cat >linear.yaml <<'Y'
seed: 3
data:      {kind: file, file: mixture8.h5}
process:   {schedule: linear, timesteps: 100, decoder_variance: clipped}
model:     {kind: mlp, hidden: [30, 20, 30], dropout: 0.1}
objective: {variance: fixed-large}
train:     {steps: 40, batch: 40, grain: 8, optimizer: adam, beta1: 0.8, beta2: 0.99, epsilon: 1.0e-6, rate: 1.0e-3,
            decay: linear, ema: [0.95, 0.8], ema_warmup: inverse, log_every: 1, by_t_every: 40}
evaluate:  {timesteps: 12, examples: 50, grain: 16, weights: raw}
sample:    {weights: ema, count: 50, grain: 8, sampler: ddim, steps: 13, eta: 0.5}
Y
good "linear: a run with dropout on three ranks" ranks 3 linear.yaml output=linear
good "linear: evaluated with fixed-small" ranks 1 evaluate linear objective.variance=fixed-small evaluate.timesteps=all \
  evaluate.examples=all process.decoder_variance=optimal evaluate.weights=ema-0.8
good "linear: the bound of 5 and 7 steps of two halves" ranks 2 evaluate linear evaluate.respace=5,7 evaluate.timesteps=all
good "linear: some strata of 30 steps, with fixed-small" ranks 1 evaluate linear evaluate.respace=30 evaluate.timesteps=9 objective.variance=fixed-small
parity linear mixture8.h5
done_testing
