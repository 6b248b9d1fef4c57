#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# No invalid access, no use of unset memory and no leak in a short run of one rank, its resume, an
# evaluation and a drawing of samples.
. "${srcdir:-.}/tests/lib.sh"
command -v valgrind >/dev/null || skip "valgrind is not here"
"$diffx" --version >/dev/null 2>&1 || skip "diffx does not start"
case $(ldd "$diffx") in *libasan*) skip "this build has sanitizers, which valgrind cannot run" ;; esac
theirs=$(ls /usr/share/openmpi/openmpi-valgrind.supp "$(dirname "$(command -v "${MPIEXEC:-mpiexec}")")"/../share/openmpi/openmpi-valgrind.supp 2>/dev/null | head -1)

clean() {         # clean NAME ARGS...
  name=$1
  shift
  GOMP_SPINCOUNT=0 timeout 300 valgrind -q --num-callers=40 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --error-exitcode=99 --suppressions="$top/tests/valgrind.supp" ${theirs:+--suppressions="$theirs"} "$diffx" "$@" >log 2>&1
  bad=$?
  ok $bad "$name"
  test $bad = 0 || show log
}
clean "training" "$exp/smoke.yaml" output=run run.threads=2
clean "resume" "$exp/smoke.yaml" output=run run.threads=1 train.steps=80
clean "evaluation" evaluate run evaluate.examples=20
clean "samples" sample run sample.count=20
clean "the plan" "$exp/smoke.yaml" output=other --dry-run
"$diffx" data make moons moons.h5 train=200 test=50 >/dev/null 2>&1
sed 's/^data:.*/data: {file: moons.h5}/' "$exp/smoke.yaml" >file.yaml
clean "data from a file" file.yaml output=file
clean "data from a file, in blocks" file.yaml output=blocks data.memory=2000
done_testing
