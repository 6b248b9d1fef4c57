# SPDX-License-Identifier: Apache-2.0
# tests/lib.sh - read by the scripts that run whole experiments: TAP, ranks, a folder of their own.
set -u
top=$(cd "${srcdir:-.}" && pwd)
diffx=$(pwd)/diffx
exp=$top/experiments
work=$(mktemp -d "${TMPDIR:-/tmp}/diffx-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_WAIT_POLICY=passive
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
unset OMP_NUM_THREADS
n=0
cd "$work" || exit 99

ok() {            # ok STATUS NAME: one line of TAP; 0 is good
  n=$((n + 1))
  if test "$1" = 0; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
show() {          # what a command said, as a comment
  sed 's/^/# /' "$@"
}
judge() {         # judge STATUS NAME: what stands in the file `said` as comments if it is wrong
  ok "$1" "$2"
  test "$1" = 0 || show said
}
good() {          # good NAME COMMAND...: it ends well
  name=$1
  shift
  "$@" >said 2>&1
  judge $? "$name"
}
skip() {          # the whole script
  echo "1..0 # SKIP $1"
  exit 0
}
ranks() {         # ranks N ARGS...: diffx on N ranks; never longer than two minutes
  r=$1
  shift
  timeout -k 5 120 "${MPIEXEC:-mpiexec}" --oversubscribe -n "$r" "$diffx" "$@"
}
done_testing() {
  echo "1..$n"
}
