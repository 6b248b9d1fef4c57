#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every schedule, prediction, variance, loss and way to draw t that diffx list names: a run on one rank in one go, and
# the same begun with two threads and ended on three ranks give the same bits.
. "${srcdir:-.}/tests/lib.sh"

common="train.steps=20 train.decay=none train.batch=40 train.checkpoint_every=10 train.log_every=5 train.by_t_every=10
        evaluate.every=10 evaluate.examples=20 evaluate.grain=4 sample.every=10 sample.count=20 process.timesteps=12"
check() {         # check NAME KEYS...
  name=$1
  shift
  "$diffx" "$exp/smoke.yaml" output=ref run.threads=1 $common "$@" >said 2>&1 &&
    "$diffx" "$exp/smoke.yaml" output=out run.threads=2 $common train.steps=10 "$@" >>said 2>&1 &&
    ranks 3 "$exp/smoke.yaml" output=out run.threads=1 $common "$@" >>said 2>&1 &&
    "$diffx" compare ref out >>said 2>&1 &&
    cmp ref/checkpoints/step-00000020.h5 out/checkpoints/step-00000020.h5 >>said 2>&1 &&
    cmp ref/samples/step-00000020.h5 out/samples/step-00000020.h5 >>said 2>&1
  bad=$?
  ok $bad "$name"
  test $bad = 0 || show said
  rm -rf ref out
}
names() {         # names KEY: the list of that key
  sed -n "/($1)\$/,/^[^ ]/s/^  \([^ ]*\) .*/\1/p" lists
}

"$diffx" list >lists
for name in $(names process.schedule); do
  case $name in
    list) check "schedule list" process.schedule=list process.timesteps=3 process.betas="0.1, 0.3, 0.2" evaluate.timesteps=all ;;
    linear | quadratic | constant) check "schedule $name" process.schedule=$name process.timesteps=24 objective.predict=x0 ;;
    *) check "schedule $name" process.schedule=$name objective.predict=x0 ;;
  esac
done
check "zero terminal SNR" process.zero_terminal=true objective.predict=v
edm="objective.predict=edm objective.loss=edm train.t_sampling=log-normal"
for name in $(names objective.predict); do
  case $name in
    edm) check "the denoiser of any sigma" $edm ;;
    *) check "prediction $name" objective.predict=$name ;;
  esac
done
for name in $(names objective.variance); do
  case $name in
    learned*) check "variance $name" objective.variance=$name objective.loss=vlb ;;
    *) check "variance $name" objective.variance=$name ;;
  esac
done
for name in $(names objective.loss); do
  case $name in
    hybrid) check "loss hybrid" objective.loss=hybrid objective.variance=learned-range ;;
    edm) ;; # with its prediction
    *) check "loss $name" objective.loss=$name ;;
  esac
done
for name in $(names train.t_sampling); do
  test $name = log-normal || check "t by $name" train.t_sampling=$name train.batch=80
done
check "strata by a pilot, and the training split" evaluate.strata=neyman evaluate.timesteps=5 evaluate.train_examples=20 evaluate.clip=false
check "three draws of noise" evaluate.draws=3 evaluate.train_examples=20
check "a respaced bound" evaluate.respace="3, 4" evaluate.timesteps=all objective.variance=learned-range objective.loss=vlb
check "a respaced bound, an estimated variance, strata" evaluate.respace=8 evaluate.spacing=trailing evaluate.timesteps=4 objective.variance=analytic
check "strata by a budget" evaluate.strata=neyman evaluate.timesteps=all evaluate.budget=392 evaluate.pilot=6 evaluate.train_examples=20
for name in $(names sample.sampler); do
  check "sampler $name" sample.sampler=$name
done
heun="sample.sampler=heun sample.steps=7 sample.churn=3 sample.churn_min=0.05"
check "heun with fresh noise on steps" $heun process.zero_terminal=true objective.predict=v
check "heun with fresh noise at any sigma, snapshots" $heun sample.churn_noise=1.01 sample.trajectory=4 $edm
test $n -ge 34
ok $? "$n of them"
"$diffx" "$exp/smoke-unet.yaml" output=ref run.threads=1 objective.variance=learned-range objective.loss=hybrid train.t_sampling=importance >said 2>&1 &&
  ranks 3 "$exp/smoke-unet.yaml" output=out run.threads=2 objective.variance=learned-range objective.loss=hybrid train.t_sampling=importance >>said 2>&1 &&
  "$diffx" compare ref out >>said 2>&1 && cmp ref/checkpoints/step-00000060.h5 out/checkpoints/step-00000060.h5 >>said 2>&1
bad=$?
ok $bad "a U-Net on 8-bit images with a learned variance and importance sampling"
test $bad = 0 || show said
grep -v '^sample:' "$exp/smoke-unet.yaml" >ancestral.yaml
few="ancestral.yaml run.threads=1 train.steps=2 sample.count=5 objective.variance=optimal objective.variance_examples=8 evaluate.every=end"
"$diffx" $few output=clip >said 2>&1 && "$diffx" $few output=free evaluate.clip=false >>said 2>&1 &&
  "$diffx" export-samples clip clip.npz >>said 2>&1 && "$diffx" export-samples free free.npz >>said 2>&1 &&
  cmp clip.npz free.npz >>said 2>&1 && ! "$diffx" compare clip free >>said 2>&1
bad=$?
ok $bad "an estimated variance is that of its user: evaluate.clip moves the bound, not the samples"
test $bad = 0 || show said
done_testing
