#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One experiment, one answer: the same bits on any number of ranks and threads.
. "${srcdir:-.}/tests/lib.sh"

file=$exp/smoke.yaml
same() {          # same CASE RANKS THREADS KEYS...: a run of $file like CASE-ref, compared with it
  case=$1 r=$2 t=$3
  shift 3
  out=$case-$r-$t
  ranks "$r" "$file" output="$out" run.threads="$t" "$@" >"$out.log" 2>&1
  status=$?
  "$diffx" compare "$case-ref" "$out" >"$out.cmp" 2>&1 &&
    cmp "$case-ref/checkpoints/step-00000060.h5" "$out/checkpoints/step-00000060.h5" >>"$out.cmp" 2>&1 &&
    cmp "$case-ref/checkpoints/step-00000040.h5" "$out/checkpoints/step-00000040.h5" >>"$out.cmp" 2>&1 &&
    cmp "$case-ref/samples/step-00000060.h5" "$out/samples/step-00000060.h5" >>"$out.cmp" 2>&1 &&
    test $status = 0
  bad=$?
  ok $bad "$case: $r ranks x $t threads"
  test $bad = 0 || show "$out.log" "$out.cmp"
  rm -rf "$out"
}
reference() {
  case=$1
  shift
  ranks 1 "$file" output="$case-ref" run.threads=1 "$@" >"$case-ref.log" 2>&1
  bad=$?
  ok $bad "$case: the run on 1 rank x 1 thread"
  test $bad = 0 || show "$case-ref.log"
}

reference "6 grains"
for r in 1 2 3 5 7; do
  for t in 1 2; do test "$r$t" = 11 || same "6 grains" $r $t; done
done
OMP_THREAD_LIMIT=1; export OMP_THREAD_LIMIT
same "6 grains" 2 3
unset OMP_THREAD_LIMIT
OMP_DYNAMIC=true; export OMP_DYNAMIC
same "6 grains" 1 5
unset OMP_DYNAMIC
reference "8 grains" train.batch=64
for r in 1 2 3 5 7; do
  for t in 1 2; do test "$r$t" = 11 || same "8 grains" $r $t train.batch=64; done
done
reference "ranks without data" data.train=4 data.test=3 evaluate.examples=all
same "ranks without data" 7 1 data.train=4 data.test=3 evaluate.examples=all
same "ranks without data" 3 2 data.train=4 data.test=3 evaluate.examples=all
reference "a single grain" train.batch=8
same "a single grain" 3 2 train.batch=8
reference "wider than a slice" model.hidden=[150,150,150] train.batch=40
same "wider than a slice" 3 1 model.hidden=[150,150,150] train.batch=40
same "wider than a slice" 5 2 model.hidden=[150,150,150] train.batch=40

file=$exp/smoke-unet.yaml
reference "a U-Net on images"
same "a U-Net on images" 1 2
same "a U-Net on images" 3 1
same "a U-Net on images" 5 2
# more threads than grains share them, and so they do where they are told to
same "a U-Net on images" 1 7
"$diffx" "$file" output=plan --dry-run run.threads=12 >said 2>&1
grep -q '^grains  *6 ' said && grep -q '^crews  *6 of up to 2 threads' said && ! grep -q idle said
judge $? "a plan tells of crews"
"$diffx" "$file" output=plan --dry-run run.threads=12 run.crew=1 >said 2>&1
grep -q '12 workers but only 6 grains: 6 workers will be idle' said
judge $? "and of threads that may not help"
same "a U-Net on images" 3 5
same "a U-Net on images" 1 4 run.crew=2
same "a U-Net on images" 2 3 run.crew=3 model.recompute=true

# wide enough that ranks of a node have weights and sums of gradients in common
reference "a wider U-Net" model.channels=24
same "a wider U-Net" 2 1 model.channels=24
same "a wider U-Net" 3 2 model.channels=24

reference "from another run" model.channels=24 "train.init_from=a wider U-Net-ref"
same "from another run" 3 1 model.channels=24 "train.init_from=a wider U-Net-ref"

# killed after step 20 and gone on elsewhere
out="a wider U-Net-resumed"
(sleep 0.1; while ! test -e "$out/checkpoints/step-00000020.h5"; do sleep 0.02; done
 kill -9 "$(pgrep -f -n "^$diffx.*output=$out ")") &
ranks 2 "$file" output="$out" run.threads=1 model.channels=24 >"$out.log" 2>&1
test $? != 0 && ! test -e "$out/checkpoints/step-00000060.h5"
ok $? "a wider U-Net: a rank of 2 killed"
ranks 3 "$file" output="$out" run.threads=1 model.channels=24 >>"$out.log" 2>&1
"$diffx" compare "a wider U-Net-ref" "$out" >>"$out.log" 2>&1 &&
  cmp "a wider U-Net-ref/checkpoints/step-00000060.h5" "$out/checkpoints/step-00000060.h5" >>"$out.log" 2>&1
bad=$?
ok $bad "a wider U-Net: gone on with 3 ranks"
test $bad = 0 || show "$out.log"

# tiles have other bits than the other kernel sets, but one answer too
if "$diffx" list | grep -q '^  amx '; then
  reference "on tiles" model.channels=24 run.kernels=amx
  same "on tiles" 2 3 model.channels=24 run.kernels=amx run.crew=3
  same "on tiles" 3 1 model.channels=24 run.kernels=amx model.recompute=true
  "$diffx" compare "a wider U-Net-ref" "on tiles-ref" >said 2>&1
  test $? = 5
  judge $? "another answer than without"
  ranks 1 "$file" output="a wider U-Net-ref" model.channels=24 train.steps=70 run.kernels=amx >said 2>&1
  test $? = 3 && grep -q 'was computed with kernels .*, this run has amx+' said
  judge $? "and a run does not go on with it"
  ranks 1 "$file" output="a wider U-Net-ref" model.channels=24 train.steps=70 run.kernels=amx run.allow_other_bits=true >said 2>&1 &&
    grep -q 'warning: .* was computed with kernels .*, and the run goes on with amx+' said
  judge $? "unless it may, which is said"
else
  ok 0 "on tiles # SKIP this processor or build has none"
fi

file=$exp/smoke.yaml

# the test can fail: another seed is another answer
ranks 1 "$exp/smoke.yaml" output=other seed=8 >other.log 2>&1
"$diffx" compare "6 grains-ref" other >other.cmp 2>&1
test $? = 5
ok $? "another seed is told apart"
done_testing
