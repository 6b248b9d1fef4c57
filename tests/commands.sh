#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every command does what it says, from the shell of somebody who uses it.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
"$py" -c 'import h5py, numpy' 2>/dev/null && h5py=yes || h5py=no

words() {         # words WORD...: all of them stand in what was said
  for w in "$@"; do
    grep -qF -e "$w" said || { echo "# not said: $w"; return 1; }
  done
}
says() {          # says NAME WORD... -- ARGS...: without a launcher
  name=$1
  shift
  : >wanted
  while test "$1" != --; do printf '%s\n' "$1" >>wanted; shift; done
  shift
  timeout -k 5 60 "$diffx" "$@" >said 2>&1
  verdict=$?
  while IFS= read -r w; do words "$w" || verdict=1; done <wanted
  judge $verdict "$name"
}
python() {        # python NAME: the program on stdin must end well
  if test $h5py = no; then
    ok 0 "$1 # SKIP no h5py"
    return
  fi
  "$py" - >said 2>&1
  judge $? "$1"
}

# --- help, list, version -----------------------------------------------------------------------
says "help lists the commands and the exit statuses" "mpiexec -n N diffx [train] EXPERIMENT.yaml" "diffx data make KIND OUT.h5" "Exit status: 0 done" \
  "75 stopped on request" -- help
cp said whole
"$diffx" >said 2>&1 && cmp -s said whole
judge $? "no argument at all is help"
"$diffx" --help >said 2>&1 && cmp -s said whole
judge $? "and so is --help"
for c in train sample evaluate data model predict verify export-samples compare status list help; do
  says "help $c" "diffx" "$c" -- help $c
done
says "list" "moons" "mixture8" "linear" "cosine" "mlp" "exact" "ancestral" "portable" -- list
says "--version" "diffx " "commit " "MPI" "HDF5 1." "BLIS" "kernels " -- --version

# --- --dry-run ---------------------------------------------------------------------------------
says "--dry-run: the plan of points" "parameters        17282" "workers           4 = 4 ranks x 1 threads" "grains            4 of 16 examples; 1 to 1 per worker" \
  "reduction         at most 1 pieces" "memory " "  in a step       " "  in a checkpoint " " MiB in the largest rank, " " MiB on a node with all ranks, beside 20 to 35 in each rank for program and libraries; this machine has " "disk " " MiB at most, unless it is stopped between; " \
  "schedule          linear, T = 1000" "t = 1           beta 0.0001  abar 0.9999 " "t = 1000        beta 0.02  abar 4.03583e-05 " \
  "evaluations       1 of 2002000 forwards each, about " " h) in all" "samples           1 drawings of 1000 x 1000 forwards each" \
  "output            runs/points: from the start" "  rate: 0.001" -- "$exp/points.yaml" --dry-run --ranks 4 run.threads=1
says "--dry-run: more memory than there is" "a rank needs about " "but this machine has " "a smaller train.grain" -- \
  "$exp/shapes.yaml" --dry-run data.size=512 data.train=4 data.test=0 model.channels=32 model.mid=plain model.attention=0 evaluate.grain=1 train.batch=4096 train.grain=4096 evaluate.every=never sample.every=never
# 25 blocks of 64 KiB a vector: the second rank has three, and receives 13 blocks of two pieces where it has a node of its own
says "--dry-run: what ranks of a node hold once" "MiB in the largest rank, 22.8 MiB on a node" " weights (once on a node), a copy" "  in a step       6.3 sums of gradients, those of other nodes among them" \
  " packed weights, once on a node; " -- "$exp/smoke-unet.yaml" --dry-run model.channels=24 --ranks 2 run.threads=1
if "$diffx" list | grep -q '^  amx '; then
  says "--dry-run: a faster kernel set" "(run.kernels: amx multiplies faster where layers are wide, with other bits)" -- "$exp/points.yaml" --dry-run run.threads=1
fi
says "--dry-run: what run.profile takes" "  run.profile     64.0 beside what is always there, while the machine is measured" -- "$exp/points.yaml" --dry-run run.threads=1 run.profile=true
says "--dry-run: idle workers are warned about" "16 workers but only 4 grains: 12 workers will be idle" "0 to 1 per worker" -- "$exp/points.yaml" --dry-run --ranks 8 run.threads=2
says "--dry-run: an evaluation every so often" "evaluations       8 of 550 forwards each" "samples           2 drawings" -- "$exp/smoke.yaml" --dry-run evaluate.every=8
says "--dry-run: the timesteps that a budget gives" "evaluations       2 of 372 forwards each" "  timesteps       7 of 12 of each example, by evaluate.budget" -- \
  "$exp/smoke.yaml" --dry-run process.timesteps=12 evaluate.examples=20 evaluate.timesteps=all evaluate.strata=neyman evaluate.pilot=6 \
  evaluate.train_examples=20 evaluate.budget=392
ranks 3 "$exp/points.yaml" --dry-run run.threads=1 >said 2>&1 && words "3 = 3 ranks x 1 threads" && test "$(grep -c '^parameters' said)" = 1
judge $? "--dry-run under mpiexec: its ranks are counted, one speaks"
unusable() {      # unusable ARGS...: in a surrounding where MPI cannot start
  env OPAL_PREFIX=/nowhere OMPI_MCA_pml=nothing OMPI_MCA_btl=nothing I_MPI_ROOT=/nowhere "$diffx" "$@" >said 2>&1
}
unusable "$exp/points.yaml" --dry-run && words "parameters        17282"
judge $? "--dry-run starts no MPI"
for c in help list --version; do
  unusable $c
  judge $? "nor does $c"
done
test ! -e runs
ok $? "and no file was written"

# --- a prediction that has no parameters: whole runs -------------------------------------------
good "the exact prediction of points, evaluated and drawn from" "$diffx" "$exp/points-exact.yaml" output=exact process.timesteps=50 evaluate.examples=10 sample.count=5
good "and of a Gaussian" "$diffx" "$exp/gaussian.yaml" output=gauss process.timesteps=50 evaluate.examples=10 sample.count=5
test -e exact/checkpoints/step-00000000.h5 && test -e gauss/checkpoints/step-00000000.h5
ok $? "leave a checkpoint each"

# --- status ------------------------------------------------------------------------------------
often="evaluate.every=20 sample.every=end run.threads=1"
"$diffx" "$exp/smoke.yaml" output=long $often evaluate.every=50 train.steps=1000000000 >long.log 2>&1 &
job=$!
i=0
while ! grep -q "step 100: bound" long.log && test $i -lt 600; do sleep 0.05; i=$((i + 1)); done
says "status while the run goes on" "step        " " of 1000000000" "loss        " "speed       " "examples/s" "time left   " "bound       " "bits/dim at step" \
  "checkpoint  step-00" "at work     process $job on " -- status long
kill -9 $job
wait $job 2>/dev/null
says "status after kill -9" " of 1000000000" "checkpoint  step-00" "at work     nobody; last was process $job on " "that process is no more" -- status long
ranks 2 "$exp/smoke.yaml" output=run $often >said 2>&1
judge $? "a run to its end"
says "status at the end" "step        60 of 60 (100.0%)" "time left   0.0 s" "checkpoint  step-00000060.h5" "at work     nobody" -- status run
"$diffx" "$exp/smoke.yaml" output=between $often train.steps=100000000 train.log_every=100000000 evaluate.every=never run.time_limit=0.2 >said 2>&1
for newest in between/checkpoints/step-*.h5; do :; done
at=$(expr "$newest" : '.*step-0*\([0-9]*\)')
says "status of a run that stopped between two rows" "step        $at of 100000000" "checkpoint  ${newest##*/}" -- status between

# --- the live line -----------------------------------------------------------------------------
launch="${MPIEXEC:-mpiexec} --oversubscribe -n 2 $diffx"
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
  script -qec "$launch $exp/smoke.yaml output=live train.steps=4000 run.threads=1 evaluate.every=never sample.every=never" /dev/null >said 2>&1 </dev/null
  tr '\r' '\n' <said | grep -a "step [0-9]*/4000  loss .*examples/s" | grep -qav "step 4000/" && grep -q "^step 4000/4000  loss" live/log.txt && ! grep -q "\[K" live/log.txt
  judge $? "a live line on a terminal, also under mpiexec; plain ones in the log"
else
  ok 0 "a live line on a terminal # SKIP no script(1) to make one"
fi
ranks 2 "$exp/smoke.yaml" output=plain train.steps=4000 run.threads=1 evaluate.every=never sample.every=never >said 2>&1
! grep -q "\[K" said && words "step 4000/4000  loss"
judge $? "plain lines elsewhere"

# --- sample ------------------------------------------------------------------------------------
ranks 3 sample run -o again.h5 >said 2>&1 && cmp again.h5 run/samples/step-00000060.h5 >>said 2>&1
judge $? "sample RUN draws the run's own samples again, on 3 ranks"
cksum run/samples/step-00000060.h5 >before
says "sample RUN without -o has a name of its own" "50 samples by ancestral in " "run/samples/drawn-00000060.h5" -- sample run
cksum run/samples/step-00000060.h5 | cmp - before && cmp run/samples/drawn-00000060.h5 again.h5
ok $? "and leaves the run's samples alone"
says "sample -o with a key" "10 samples by ancestral in " ": ten.h5" -- sample run -o ten.h5 sample.count=10
says "sample by another sampler" "5 samples by ddim in " -- sample -o ddim.h5 run sample.count=5 sample.sampler=ddim
ranks 1 "$exp/smoke.yaml" output=by-ddim sample.sampler=ddim sample.steps=7 train.steps=2 evaluate.every=never >said 2>&1 && grep -q 'eta: 0' by-ddim/experiment.yaml
judge $? "a run whose sampler has keys of its own"
says "sample by another sampler than such a run's, which takes its keys away" "50 samples by ancestral in " -- sample by-ddim -o by.h5 sample.sampler=ancestral
says "another network than the file's" "kind: exact" "evaluations " -- "$exp/points.yaml" output=never model.kind=exact train.steps=0 evaluate.examples=20 evaluate.draws=1 sample.every=never --dry-run
sed 's/kind: mlp, //' "$exp/points.yaml" >preset.yaml
says "and than the preset, with keys of which the file goes" "kind: exact" -- preset.yaml output=never model.kind=exact train.steps=0 evaluate.every=never sample.every=never --dry-run
says "and than both the file's and another on the command line" "kind: exact" -- "$exp/points.yaml" output=never model.kind=unet model.kind=exact train.steps=0 evaluate.every=never \
  sample.every=never --dry-run
says "COMMAND --help" "diffx sample RUN|CHECKPOINT" "sample.trajectory" -- sample --help
says "and behind its words" "diffx model import DIR OUT.h5" -- model import --help
says "and behind an experiment" "diffx [train] EXPERIMENT.yaml" "train.rate" -- "$exp/smoke.yaml" -h
says "--dry-run of a run that has come that far" " for what is left after step 60, 0.0 s of it training" "goes on from run/checkpoints/step-00000060.h5" -- "$exp/smoke.yaml" output=run --dry-run
says "sample from a checkpoint file" "50 samples by ancestral" -- sample run/checkpoints/step-00000040.h5 -o forty.h5
! cmp -s forty.h5 again.h5
ok $? "whose samples are others"
cp run/checkpoints/step-00000060.h5 moved.h5
says "a checkpoint away from its run" "50 samples by ancestral" -- sample moved.h5 -o moved-samples.h5
python "the moved one gives the same samples; ten samples are the first ten of fifty" <<'P'
import h5py, numpy as np
assert (h5py.File('moved-samples.h5')['x'][:] == h5py.File('again.h5')['x'][:]).all()
ten, all = h5py.File('ten.h5'), h5py.File('again.h5')
assert ten['x'].shape == (10, 1, 1, 2) and all['x'].shape == (50, 1, 1, 2), (ten['x'].shape, all['x'].shape)
assert (ten['x'][:] == all['x'][:10]).all() and np.isfinite(all['x'][:]).all()
assert list(all['trajectory_t'][:]) == [50, 13, 0] and (all['trajectory'][-1] == all['x'][:]).all(), all['trajectory_t'][:]
assert ten.attrs['step'] == 60 and h5py.File('forty.h5').attrs['step'] == 40
run, by_ddim = h5py.File('run/checkpoints/step-00000060.h5'), h5py.File('ddim.h5')
assert all.attrs['experiment'] == run.attrs['experiment'] and all.attrs['kernels'] == run.attrs['kernels']
assert all.attrs['dataset_hash'] == run.attrs['dataset_hash']
assert all.attrs['weights_hash'] in (run['weights'].attrs['checksum'], run['ema'].attrs['checksum'] if 'ema' in run else '')
assert all.attrs['weights_hash'] == by_ddim.attrs['weights_hash'] != h5py.File('forty.h5').attrs['weights_hash']
assert 'sampler: ddim' in by_ddim.attrs['experiment'] and all.attrs['version'] and all.attrs['commit']
P

# --- evaluate ----------------------------------------------------------------------------------
ranks 3 evaluate run -o evaluation.h5 >said 2>&1 && words "prior L_T" "KL terms" "decoder L_0" "step 60, averaged weights, 50 test examples"
judge $? "evaluate RUN on 3 ranks"
total=$(awk '$1 == "total" { printf "bound %.4f +- %.4f bits/dim", $4, $5 }' said)
grep -qF "step 60: $total" run/log.txt
judge $? "prints the bound that the run's log has"
says "evaluate a checkpoint" "step 40, averaged weights" ": run/evaluation-00000040.h5" -- evaluate run/checkpoints/step-00000040.h5
total=$(awk '$1 == "total" { printf "bound %.4f +- %.4f bits/dim", $4, $5 }' said)
grep -qF "step 40: $total" run/log.txt
judge $? "prints the bound that the log has at its step"
says "evaluate with keys" "raw weights, 7 test examples" -- evaluate run -o raw.h5 evaluate.weights=raw evaluate.examples=7 evaluate.timesteps=all
python "the files of evaluate are the rows of the run's record" <<'P'
import h5py, numpy as np
run = h5py.File('run/metrics.h5')['kl']
assert list(run['step'][:]) == [20, 40, 60], run['step'][:]
for name, row in ('evaluation.h5', 2), ('run/evaluation-00000040.h5', 1):
    one = h5py.File(name)['kl']
    for key in run:
        if key != 't': assert run[key][row].tobytes() == one[key][0].tobytes(), (name, key)
for name, step, weights in ('evaluation.h5', 60, 'ema'), ('run/evaluation-00000040.h5', 40, 'ema'), ('raw.h5', 60, 'weights'):
    kept = h5py.File(f'run/checkpoints/step-{step:08}.h5')[weights].attrs['checksum']
    assert h5py.File(name).attrs['weights_hash'] == kept, (name, kept)
P
ranks 2 evaluate run -o sixty.h5 evaluate.timesteps=all evaluate.per_example=terms >said 2>&1 &&
  "$diffx" evaluate run/checkpoints/step-00000040.h5 -o forty-all.h5 evaluate.timesteps=all evaluate.per_example=terms >>said 2>&1 &&
  "$diffx" evaluate run -o thirty.h5 evaluate.timesteps=all evaluate.examples=30 evaluate.per_example=terms run.threads=1 >>said 2>&1
judge $? "evaluate with the terms of each example"
python "examples, their totals and terms are those of the means; two files are compared in pairs" <<'P'
import h5py, numpy as np
late, early, few = (h5py.File(f)['kl'] for f in ('sixty.h5', 'forty-all.h5', 'thirty.h5'))
N, T = late['example_vb'].shape
row, total, vb = (late[f'example_{k}'][:] for k in ('row', 'total', 'vb'))
close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-9)
assert N == 50 and T == late['t'].size and row.dtype == np.int64 and len(set(row)) == N and 0 <= row.min()
close(total.mean(), late['total'][0])
close(total.std(ddof=1) / N ** .5, late['total_stderr'][0])
close(vb.mean(0), late['vb'][0])
close(vb.std(0, ddof=1) / N ** .5, late['vb_stderr'][0])
close((total - vb.sum(1)).mean(), late['prior'][0])
assert (early['example_row'][:] == row).all()
# the first 30 are the same with any number of ranks, threads and examples, but for the decoder's variance, which as many estimate
assert (few['example_row'][:] == row[:30]).all() and few['example_vb'][:, 1:].tobytes() == vb[:30, 1:].tobytes()
pair = total - early['example_total'][:]
close(pair.mean(), late['total'][0] - early['total'][0])
assert pair.std() < 0.5 * np.hypot(total.std(), early['example_total'][:].std()), (pair.std(), total.std())
one = h5py.File('evaluation.h5')['kl']
assert 'example_vb' not in one and one['example_total'].shape == (50,)
P
"$diffx" evaluate run -o two.h5 evaluate.timesteps=5 evaluate.strata=neyman evaluate.pilot=2 >said 2>&1 &&
  grep -q 'strata by a pilot: .* less within them than at squares$' said
judge $? "a pilot of two tells of no interval"
says "evaluate within a budget" "50 test examples" "strata by a pilot: " " times less within them than at squares (95 %: " -- \
  evaluate run -o budget.h5 evaluate.timesteps=all evaluate.strata=neyman evaluate.pilot=4 evaluate.budget=949
python "a budget is spent, as far as whole timesteps go" <<'P'
import h5py
k = h5py.File('budget.h5')['kl']
# 50 for the decoder's variance, 4 x 50 for the pilot, then 13 timesteps of 50 examples make 900 of 949
assert k['count'][0].sum() == 13 * 50 and k['count'][0, 0] == 50, k['count'][0].sum()
assert 0 < k['strata_gain_low'][0] < k['strata_gain_high'][0]
P
says "evaluate the bound of fewer steps" "50 test examples" -- evaluate run -o respaced.h5 evaluate.timesteps=all evaluate.respace=10 evaluate.per_example=terms
python "its steps and its widths" <<'P'
import h5py
k = h5py.File('respaced.h5')['kl']
assert list(k['t'][:]) == [1, 6, 12, 17, 23, 28, 34, 39, 45, 50], k['t'][:]
assert k['vb'].shape == (1, 10) and k['example_vb'].shape == (50, 10) and (k['count'][0] == 50).all()
assert k['vb'].dims[1][0] == k['t'] and k['example_vb'].dims[1][0] == k['t']
P
"$diffx" "$exp/smoke.yaml" output=run $often train.steps=70 evaluate.respace=10 >said 2>&1
test $? = 3 && words "run/journal: its evaluations are of another grid of 50 steps, and evaluate.respace is 10"
judge $? "a run's record has one grid"
"$diffx" evaluate run -o none.h5 evaluate.per_example=terms evaluate.timesteps=5 >said 2>&1
test $? = 3 && words "evaluate.per_example is terms" "at 5 of " "allowed: totals" && ! test -e none.h5
judge $? "terms of each example at a few t are refused"

"$diffx" data make shapes named.h5 size=8 train=40 test=30 >said 2>&1
python "names for the classes of a file" <<'P'
import h5py
h5py.File('named.h5', 'a').attrs['class_names'] = 'disc\nbox\nstripes'
P
cat >named.yaml <<'Y'
{name: named, output: named, data: {kind: file, file: named.h5}, process: {schedule: cosine, timesteps: 6}, model: {kind: mlp, hidden: [8]},
 train: {steps: 1, batch: 8, grain: 8}, evaluate: {grain: 4}, sample: {every: never}}
Y
"$diffx" named.yaml >said 2>&1 && ranks 2 evaluate named -o classes.h5 evaluate.per_example=terms >>said 2>&1
judge $? "evaluate data with labels"
cp said table
python "classes have their names and terms, examples their classes" <<'P'
import h5py, numpy as np
k, data, said = h5py.File('classes.h5')['kl'], h5py.File('named.h5'), open('table').read()
row, label, vb, total = (k[f'example_{n}'][:] for n in ('row', 'label', 'vb', 'total'))
assert (label == data['test/label'][:][row]).all() and len(set(label)) == 3
for c, name in enumerate(('disc', 'box', 'stripes')):
    np.testing.assert_allclose(k['class_vb'][c], vb[label == c].mean(0), rtol=1e-12)
    np.testing.assert_allclose(k['class_total'][0, c], total[label == c].mean(), rtol=1e-12)
    assert k['class_count'][0, c] == (label == c).sum() and f'{name} ' in said, said
run = h5py.File('named/metrics.h5')['kl']
assert k.attrs['class_names'] == run.attrs['class_names'] == 'disc\nbox\nstripes' and 'class_vb' not in run
P

# --- compare -----------------------------------------------------------------------------------
ranks 3 "$exp/smoke.yaml" output=same $often >said 2>&1
says "compare equal runs" "equal: " " datasets, bit for bit" -- compare run same
"$diffx" "$exp/smoke.yaml" output=other $often seed=8 >said 2>&1
differs() {       # differs NAME WORD...: compare has just ended with status 5
  verdict=$?
  name=$1
  shift
  test $verdict = 5 && words "$@"
  judge $? "$name"
}
"$diffx" compare run other >said 2>&1
differs "compare runs of another seed" "train/loss: differs first in row 0" "run and other differ in "
"$diffx" compare run long >said 2>&1
differs "compare runs of other length" "train/loss: [9] in the first, [" "] in the second"
"$diffx" compare run/metrics.h5 same >said 2>&1
judge $? "compare takes a record file too"
"$diffx" compare run nowhere >said 2>&1
test $? = 4 && words "cannot read nowhere: No such file or directory"
judge $? "compare with nothing"

# --- data --------------------------------------------------------------------------------------
cat >kind.yaml <<'Y'
name: kind
process: {schedule: cosine, timesteps: 20}
model: {kind: mlp, hidden: [16]}
train: {steps: 30, batch: 24, grain: 8, ema: 0.9, log_every: 5, by_t_every: 10, checkpoint_every: 30}
evaluate: {grain: 8}
sample: {count: 10, grain: 8}
run: {threads: 1}
Y
for kind in gaussian mixture8 moons swiss-roll checkerboard; do
  says "data make $kind" "$kind.h5: use it with data.kind: file" -- data make $kind $kind.h5 train=100 test=30 seed=3
  says "data show $kind" "points, 1 x 1 x 2 float32" "train         100 rows" "test           30 rows" "hash " "diffx data make $kind train=100 test=30 seed=3 " -- data show $kind.h5
  "$diffx" kind.yaml output=drawn-$kind data.kind=$kind data.train=100 data.test=30 data.seed=3 >said 2>&1 &&
    ranks 2 kind.yaml output=file-$kind data.kind=file data.file=$kind.h5 >>said 2>&1 &&
    "$diffx" compare drawn-$kind file-$kind >>said 2>&1
  judge $? "$kind drawn and $kind from the file on 2 ranks: the same record"
done
python "and the same weights and data" <<'P'
import h5py
for kind in 'gaussian', 'mixture8', 'moons', 'swiss-roll', 'checkerboard':
    a, b = (h5py.File(f'{how}-{kind}/checkpoints/step-00000030.h5') for how in ('drawn', 'file'))
    assert a.attrs['dataset_hash'] == b.attrs['dataset_hash'], kind
    for key in 'weights', 'moment1', 'moment2', 'ema':
        assert a[key][:].tobytes() == b[key][:].tobytes() and a[key][:].any(), (kind, key)
P
"$diffx" data make gaussian five.h5 train=10 test=0 seed=4 >said 2>&1 && "$diffx" data show five.h5 >said 2>&1 && words "test            0 rows"
judge $? "a set without a test split"

# --- where ranks and threads run ----------------------------------------------------------------
says "more threads than cores" "$(($(nproc) + 1)) threads share $(nproc) core" "give run.threads or start fewer ranks" -- "$exp/smoke.yaml" output=many train.steps=0 \
  evaluate.every=never sample.every=never run.threads=$(($(nproc) + 1))
test "$(grep -c 'threads share' many/log.txt)" = 1
judge $? "and the run's log, which did not exist yet, has it"
ranks 3 "$exp/smoke.yaml" output=idle train.batch=8 train.grain=4 train.steps=1 evaluate.every=never sample.every=never run.threads=1 >said 2>&1 &&
  words "3 workers but only 2 grains: 1 worker will be idle"
judge $? "more workers than grains"
if test "$(nproc)" -gt 1 && taskset -c "$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')" true 2>/dev/null; then
  one=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
  timeout 60 "${MPIEXEC:-mpiexec}" -n 1 taskset -c "$one" "$diffx" "$exp/smoke.yaml" output=bound train.steps=2 >said 2>&1 </dev/null &&
    words "the launcher bound this rank to 1 of $(nproc) cores, and 1 rank of 1 thread on this node leaves the rest idle: mpiexec --bind-to none"
  judge $? "a rank that is bound to one core of several is told"
else
  ok 0 "a rank that is bound to one core of several is told # SKIP one core, or no taskset"
fi

# --- verify ------------------------------------------------------------------------------------
for r in 1 3; do
  ranks $r verify >said 2>&1 && words "$r ranks x " " checks passed" && ! grep -q FAIL said
  judge $? "verify on $r ranks"
done
done_testing
