#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on the real thing: CIFAR-10 is imported, the DDPM paper's network trains on it in a few small steps,
# evaluates, draws, and goes on to the same bits on another rank count. Minutes: make check-long.
. "${srcdir:-.}/tests/lib.sh"

real=$top/../shared/data
test -d "$real/cifar-10" || skip "CIFAR-10 is not in ../shared/data beside the source tree"
mkdir data
"$diffx" data import cifar10 "$real/cifar-10" data/cifar10.h5 >said 2>&1 || {
  grep -q "built without liblzma" said && skip "built without liblzma"
}
test -e data/cifar10.h5
ok $? "CIFAR-10 is imported"

few="train.steps=4 train.batch=16 train.grain=4 train.log_every=1 train.by_t_every=2 train.checkpoint_every=2 run.threads=1
     evaluate.every=2 evaluate.examples=4 evaluate.timesteps=4 evaluate.grain=2 sample.every=4 sample.count=2 sample.steps=2 sample.grain=1"
run() {           # run OUTPUT RANKS KEYS...
  out=$1 r=$2
  shift 2
  timeout -k 5 300 "${MPIEXEC:-mpiexec}" --oversubscribe -n "$r" "$diffx" "$exp/cifar.yaml" output="$out" $few "$@" >>"$out.log" 2>&1
}
run one 2
bad=$?
ok $bad "cifar.yaml on two ranks"
test $bad = 0 || show one.log
for name in one/checkpoints/step-00000004.h5 one/samples/step-00000004.h5 one/metrics.h5; do
  test -s $name
  ok $? "$name"
done
grep -q "step 4: bound .* bits/dim" one.log
ok $? "the bound in bits/dim"

run other 1 train.steps=2
bad=$?
run other 3
bad=$((bad + $?))
"$diffx" compare one other >>other.log 2>&1 && cmp one/checkpoints/step-00000004.h5 other/checkpoints/step-00000004.h5 >>other.log 2>&1
bad=$((bad + $?))
ok $bad "begun on one rank, gone on with three: the same bits"
test $bad = 0 || show other.log
done_testing
