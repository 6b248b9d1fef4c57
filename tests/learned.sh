#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Trained on Gaussian data, a learned variance ends within 2 % of the best one in the middle half of t.
# With 16 large steps beta~_t and beta_t are off by up to 20 and 15 % there, so that it has to be learned.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
"$py" -c 'import h5py, numpy' 2>/dev/null || skip "no Python with h5py and numpy"

cat >gaussian.yaml <<'Y'
name: learned
data:      {kind: gaussian, dim: 2, sigma: 0.5, train: 20000, test: 2000}
process:   {schedule: linear, timesteps: 16, scale: false, beta_first: 0.02, beta_last: 0.3}
model:     {kind: mlp, hidden: [64, 64]}
train:     {steps: 12000, batch: 256, grain: 32, rate: 2.0e-3, decay: cosine, ema: 0.999, log_every: 1000, t_sampling: stratified}
evaluate:  {grain: 32}
sample:    {every: never}
Y
cat >judge.py <<'P'
import sys
import h5py
import numpy as np
with h5py.File(sys.argv[1] + "/metrics.h5") as f:
    beta, abar, post = (f["process/" + k][()] for k in ("beta", "alpha_bar", "posterior_variance"))
    found = f["kl/variance"][-1]
before = np.append(1.0, abar[:-1])
best = post + (beta / (1 - abar)) ** 2 * before * 0.25 * (1 - abar) / (abar * 0.25 + 1 - abar)
middle = slice(4, 12)  # t = 5..12 of 16
off = np.abs(found / best - 1)[middle].max()
print(f"# off by at most {off:.4f}; beta by {np.abs(beta / best - 1)[middle].max():.3f}, beta~ by {np.abs(post / best - 1)[middle].max():.3f}")
sys.exit(not off < 0.02)
P
for case in "learned hybrid noise" "learned-range hybrid noise" "learned vlb v" "learned-range vlb x0"; do
  set -- $case
  # lambda T of the hybrid loss is 1, as with its preset and 1000 steps
  test $2 = hybrid && lambda=objective.lambda=0.0625 || lambda=
  "$diffx" gaussian.yaml output="$1-$2" objective.variance=$1 objective.loss=$2 objective.predict=$3 $lambda >said 2>&1 && "$py" judge.py "$1-$2" >>said 2>&1
  bad=$?
  ok $bad "$case: $(sed -n 's/^# //p' said)"
  test $bad = 0 || show said
done
done_testing
