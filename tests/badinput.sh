#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bad input: the right exit status, words that help, nothing lost, no hang.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
bad_out=refused          # no refused run may leave a result here

words() {         # words FILE WORD...: all of them stand in it
  in=$1
  shift
  for w in "$@"; do
    grep -qF -e "$w" "$in" || { echo "# not said: $w"; return 1; }
  done
}
refused() {       # refused NAME STATUS RANKS WORD... -- ARGS...: 0 ranks is no launcher at all
  name=$1 want=$2 many=$3
  shift 3
  : >wanted
  while test "$1" != --; do printf '%s\n' "$1" >>wanted; shift; done
  shift
  if test "$many" = 0; then timeout -k 5 60 "$diffx" "$@" >said 2>&1
  else ranks "$many" "$@" >said 2>&1; fi
  status=$?
  verdict=0
  test $status = "$want" || { echo "# exit status $status, not $want"; verdict=1; }
  test "$(grep -c 'diffx: error: ' said)" = 1 || { echo "# not one error"; verdict=1; }
  while IFS= read -r w; do words said "$w" || verdict=1; done <wanted
  judge $verdict "$name"
}
no_result() {     # no_result FOLDER NAME: neither weights, samples nor a record there
  test -z "$(find "$1" -name '*.h5*' 2>/dev/null)"
  ok $? "$2"
}

# --- the command line ------------------------------------------------------------------------
refused "a typo in a command" 2 0 "trian is neither a command nor an experiment file; did you mean train?" -- trian "$exp/smoke.yaml"
refused "a word that is nothing" 2 3 "frobnicate is neither a command nor an experiment file" -- frobnicate
refused "two experiment files" 2 0 "smoke.yaml is not key=value" -- "$exp/smoke.yaml" "$exp/smoke.yaml" --dry-run
refused "a key without a value" 2 0 "seed=: no value" -- "$exp/smoke.yaml" seed= --dry-run
refused "a word without =" 2 0 "seed is not key=value" -- "$exp/smoke.yaml" seed --dry-run
refused "an unknown flag" 2 0 "--seed=3 is not key=value" -- "$exp/smoke.yaml" --seed=3 --dry-run
refused "a flag for the file" 2 0 "-n is not known" "usage:" -- -n 4 "$exp/smoke.yaml"
refused "--ranks 2x" 2 0 "--ranks is 2x; allowed: a whole number from 1" -- "$exp/smoke.yaml" --dry-run --ranks 2x
refused "help for what is not there" 2 0 "no command, key or section is called train.rat; did you mean train.rate?" -- help train.rat
refused "data make of no kind" 2 0 "mons is no kind of data (did you mean moons?)" "diffx list" -- data make mons x.h5
refused "data make without a file" 2 0 "usage: diffx data make KIND OUT.h5" -- data make moons train=10
cp "$exp/smoke.yaml" mine.yaml
refused "data make over an experiment" 4 0 "mine.yaml stands there and is no dataset that diffx has made: it is not overwritten" -- data make moons mine.yaml
refused "data make into no folder" 4 0 "cannot write no/x.h5" "No such file or directory" -- data make moons no/x.h5
"$diffx" data make moons stands.h5 train=20 test=5 >said 2>&1 && cksum stands.h5 >before
refused "data make over a data set" 4 0 "stands.h5 is a data set that stands there: it is overwritten with --force alone" -- data make moons stands.h5 train=30
cksum stands.h5 | cmp -s before -
ok $? "which stays"
"$diffx" data make moons stands.h5 train=30 --force >said 2>&1 && "$diffx" data show stands.h5 | grep -q "train          30 rows"
ok $? "data make --force puts another in its place"
refused "data make --force over an experiment" 4 0 "mine.yaml stands there and is no dataset that diffx has made: it is not overwritten" -- data make moons mine.yaml --force
refused "data make with a wrong value" 3 0 "command line: noise is 0; allowed: a number" -- data make moons x.h5 noise=0
test ! -e x.h5 && cmp mine.yaml "$exp/smoke.yaml"
ok $? "and none of these left or lost a file"

# --- the experiment file ---------------------------------------------------------------------
: >empty.yaml
printf '# a comment\n' >comment.yaml
printf 'name: cut\ntrain: {steps: 10, batch' >cut.yaml
printf 'model: {kind: {of: {what: mlp}}}\n' >deep.yaml
head -c 3000 /bin/sh >binary.yaml
printf -- '- name: list\n- seed: 1\n' >list.yaml
printf 'train:\n\tsteps: 3\n' >tab.yaml
printf 'seed: 1\nname: a\nseed: 2\n' >twice.yaml
printf 'data: {kind: moons}\ntrain:\n  steps: [1, 2]\n  ema: yes\n  log_every: 2.5\nmodel: 3\n' >type.yaml
cat >five.yaml <<'Y'
name: five
data: {kind: moons, train: 100}
trian: {steps: 10}
train:
  steps: -5
  batch_size: 64
  rate: fast
process: {timesteps: 1}
Y
refused "a missing file" 4 3 "cannot read missing.yaml: No such file or directory" -- missing.yaml
refused "an empty file" 3 0 "empty.yaml:1:1: empty: no keys at all" -- empty.yaml --dry-run
refused "a comment alone" 3 0 "comment.yaml:2:1: empty: no keys at all" -- comment.yaml --dry-run
refused "a truncated file" 3 0 "cut.yaml:3:1: not YAML" "expected ',' or '}'" -- cut.yaml --dry-run
refused "wrong types" 3 0 "type.yaml:3: train.steps is a list, [1, 2]; allowed: a whole number" "type.yaml:4: train.ema is yes" "type.yaml:5: train.log_every is 2.5, not whole" "type.yaml:6: model" -- type.yaml --dry-run
refused "too deep" 3 0 "deep.yaml:1:15: model.kind is a mapping" -- deep.yaml --dry-run
refused "a binary file" 3 0 "binary.yaml:1:" "not a text file" -- binary.yaml --dry-run
refused "a list" 3 0 "list.yaml:1:1: expected 'key: value'" -- list.yaml --dry-run
refused "a tab" 3 0 "tab.yaml:2:1: not YAML: a tab; indent with blanks" -- tab.yaml --dry-run
refused "a key twice" 3 0 "twice.yaml:3:1: seed stands twice, first in line 1" -- twice.yaml --dry-run
refused "five mistakes at once" 3 3 "five.yaml:3: trian is not a section; did you mean train?" \
  "five.yaml:5: train.steps is -5; allowed: a whole number from 0" "five.yaml:6: train.batch_size is not a key; did you mean train.batch?" \
  "five.yaml:7: train.rate is fast; allowed: a number" "five.yaml:8: process.timesteps is 1; allowed: a whole number from 2" -- five.yaml
refused "a value out of bounds" 3 0 "command line: train.beta1 is 1.5; allowed: a number from 0 to" -- "$exp/smoke.yaml" train.beta1=1.5 --dry-run
edm="objective.predict=edm objective.loss=edm"
refused "a sigma that nothing draws" 3 0 "preset: train.t_sampling is uniform, but objective.loss is edm; allowed: log-normal" -- \
  "$exp/smoke.yaml" $edm --dry-run
refused "any sigma for another loss" 3 0 "train.t_sampling is log-normal, but objective.loss is simple" -- "$exp/smoke.yaml" train.t_sampling=log-normal --dry-run
refused "EDM's denoiser with a learned variance" 3 0 "command line: objective.variance is learned, but objective.loss edm teaches no variance" \
  "allowed: fixed-small, fixed-large, optimal, analytic" -- "$exp/smoke.yaml" $edm train.t_sampling=log-normal objective.variance=learned --dry-run
refused "sigmas that rise" 3 0 "command line: sample.sigma_min is 2, but sample.sigma_max is 1; allowed: less than that" -- \
  "$exp/smoke.yaml" sample.sampler=heun sample.sigma_min=2 sample.sigma_max=1 --dry-run
refused "heun's option of another sampler" 3 0 "command line: sample.churn only goes with sample.sampler: heun (here ancestral)" -- "$exp/smoke.yaml" sample.churn=3 --dry-run
refused "count = 0" 3 0 "command line: sample.count is 0; allowed: a whole number from 1" -- "$exp/smoke.yaml" sample.count=0 --dry-run
refused "threads = 100000" 3 0 "command line: run.threads is 100000; allowed: a whole number from 0 to 4096, or auto" -- "$exp/smoke.yaml" run.threads=100000 --dry-run
refused "an unknown kernel set" 3 0 "command line: run.kernels is avx3; allowed: auto, portable, avx2, avx512 or amx" -- "$exp/smoke.yaml" run.kernels=avx3 --dry-run
refused "an unknown model" 3 0 "command line: model.kind is mpl; allowed: exact, mlp or unet; did you mean mlp?" -- "$exp/points.yaml" model.kind=mpl --dry-run
printf 'data: shapes\n' >word.yaml
refused "an unknown schedule" 3 0 "process.schedule is linar; allowed: linear, cosine" -- "$exp/points.yaml" process.schedule=linar --dry-run
test "$(grep -c . said)" = 1
ok $? "is told once, and nothing of what another one would need"
refused "a word of another program" 3 0 "sample.sampler is ddpm; allowed: ancestral, ddim or heun; did you mean ancestral?" -- "$exp/points.yaml" sample.sampler=ddpm --dry-run
refused "a key of another section" 3 0 "dim is not a key; did you mean data.dim?" -- "$exp/gaussian.yaml" dim=3 --dry-run
refused "keys of another program" 3 0 "lr is not a key; did you mean train.rate?" "epochs is not a key; did you mean train.steps?" "channel_mult is not a key; did you mean model.multipliers" -- "$exp/points.yaml" lr=1e-3 train.epochs=3 model.channel_mult=1 --dry-run
refused "a section that is a word" 3 0 "data is a section" -- word.yaml --dry-run
test "$(grep -c . said)" = 1
ok $? "lacks none of its keys"
refused "a key at the top that is none" 3 0 "zzz is not a key; there are name, seed, output, and sections data, process" -- "$exp/points.yaml" zzz=3 --dry-run
printf 'model:\n  kind: exact\n  hidden: [3]\ndata: {kind: gaussian}\n' >other.yaml
refused "a key of another choice" 3 0 "other.yaml:3: model.hidden only goes with model.kind: mlp (here exact)" -- other.yaml --dry-run
refused "nor does the file's own choice on the command line take it away" 3 0 "other.yaml:3: model.hidden only goes with model.kind: mlp (here exact)" -- \
  other.yaml model.kind=exact --dry-run
refused "nor another one a key of neither" 3 0 "other.yaml:3: model.hidden only goes with model.kind: mlp (here unet)" -- other.yaml model.kind=unet --dry-run
refused "and on the command line, whoever chose" 3 0 "command line: model.hidden only goes with model.kind: mlp (here exact)" -- other.yaml model.kind=exact model.hidden=[4] --dry-run
refused "the exact prediction of no known density" 3 0 "model.kind is exact" "gaussian, mixture8" -- "$exp/gaussian.yaml" data.kind=moons output=$bad_out --dry-run
refused "batch no multiple of grain" 3 0 "train.batch is 50, no multiple of train.grain (8)" -- "$exp/smoke.yaml" train.batch=50 --dry-run
refused "a linear schedule of 20 steps" 3 0 "process.timesteps is 20" "beta_20" "= 1; allowed: beta below 1" "at least 21" -- "$exp/smoke.yaml" process.schedule=linear process.timesteps=20 --dry-run
"$diffx" "$exp/smoke.yaml" process.schedule=linear process.timesteps=21 --dry-run >said 2>&1
judge $? "and of 21 steps is fine"
refused "a budget and timesteps" 3 0 "evaluate.budget is 10000, but evaluate.timesteps is 10" "allowed with it: all" -- "$exp/smoke.yaml" evaluate.budget=10000 --dry-run
few="evaluate.timesteps=all evaluate.strata=neyman evaluate.pilot=4"
refused "a budget that is too small" 3 2 "evaluate.budget is 349; allowed: at least 350 forward passes (250 for" "50 for each of 2 timesteps" -- "$exp/smoke.yaml" $few evaluate.budget=349 output=$bad_out
refused "and --dry-run says so too" 3 0 "evaluate.budget is 349; allowed: at least 350" -- "$exp/smoke.yaml" $few evaluate.budget=349 --dry-run
"$diffx" "$exp/smoke.yaml" $few evaluate.budget=350 --dry-run >said 2>&1
judge $? "and one more is enough"
refused "a grid of too many steps" 3 0 "command line: evaluate.respace is 51; allowed: from 2 to 50 steps" -- "$exp/smoke.yaml" evaluate.respace=51 --dry-run
refused "a grid in no words of ours" 3 0 "command line: evaluate.respace is 5;6; allowed: none, a number of steps, or" -- "$exp/smoke.yaml" "evaluate.respace=5;6" --dry-run
refused "no test split" 5 2 "moons has no test split" "evaluate.every: never" -- "$exp/smoke.yaml" data.test=0 output=$bad_out
no_result $bad_out "and none of these left a result"

# --- data files ------------------------------------------------------------------------------
cat >file.yaml <<'Y'
name: file
output: file
data: {kind: file, file: good.h5}
process: {schedule: cosine, timesteps: 20}
model: {kind: mlp, hidden: [16]}
train: {steps: 20, batch: 16, grain: 8, log_every: 5, checkpoint_every: 10}
evaluate: {grain: 8}
sample: {count: 10, grain: 8}
Y
"$diffx" data make moons good.h5 train=200 test=50 >said 2>&1 && "$diffx" data make moons other.h5 train=200 test=50 seed=1 >>said 2>&1
judge $? "two good data files"
size=$(($(stat -c %s good.h5) - 16)) # without the seal, which is none of HDF5
: >empty.h5
echo hello >text.h5
head -c 3000 good.h5 >cut.h5
head -c $((size - 1)) good.h5 >cut-by-one.h5
cp good.h5 damaged.h5
dd if=/dev/zero of=damaged.h5 bs=1 seek=$((size / 2)) count=400 conv=notrunc 2>/dev/null
mkdir folder.h5
file() {          # file NAME STATUS RANKS FILE WORD...
  name=$1 want=$2 many=$3 which=$4
  shift 4
  plan=
  test "$many" != 0 || plan=--dry-run
  refused "data: $name" "$want" "$many" "$@" -- file.yaml data.file="$which" output=$bad_out $plan
}
file "missing" 4 3 no.h5 "cannot read no.h5: No such file or directory"
file "empty" 5 0 empty.h5 "empty.h5 is empty, not an HDF5 file"
file "not HDF5" 5 0 text.h5 "text.h5 is not an HDF5 file"
file "a folder" 4 0 folder.h5 "folder.h5 is a folder, not an HDF5 file"
file "truncated" 5 3 cut.h5 "cut.h5 is truncated: 3000 of $size bytes are there"
file "truncated by a byte" 5 0 cut-by-one.h5 "cut-by-one.h5 is truncated: $((size - 1)) of $size bytes are there"
file "damaged" 5 2 damaged.h5 "damaged.h5: cannot read /train/x" "checksum"
if "$py" -c 'import h5py, numpy' 2>/dev/null; then
  "$py" - <<'P' || echo "Bail out! h5py cannot write"
import h5py, numpy as np

def write(name, train, test, label=None, **attributes):
    with h5py.File(name, 'w') as f:
        if train is not None: f['train/x'] = train
        if test is not None: f['test/x'] = test
        if label is not None: f['train/label'], f['test/label'] = label
        f.attrs.update(attributes)

x = np.random.default_rng(0).normal(size=(200, 2)).astype('f4')
t = x[:50].copy()
nan, inf = x.copy(), t.copy()
nan[137, 1], inf[7, 0] = np.nan, np.inf
write('nan.h5', nan, t)
write('inf.h5', x, inf)
write('no-x.h5', None, t)
write('rank.h5', x[:, 0], t)
write('shape.h5', x, np.zeros((50, 3), 'f4'))
write('double.h5', x.astype('f8'), t)
write('mixed.h5', x, np.zeros((50, 2), 'u1'))
write('zero.h5', x[:0], t)
write('no-test.h5', x, None)
write('label.h5', x, t, (np.arange(199), np.arange(50)))
write('scale.h5', x, t, scale=0.0)
write('range.h5', np.clip(x, -0.5, 0.5), t * 0 + 0.75, range_lo=-0.5, range_hi=0.5)
write('new.h5', x, t, format=99)
with h5py.File('wide.h5', 'w') as f: f.create_dataset('train/x', (3, 2**33), 'f4', chunks=(1, 1024)) # of no bytes
P
  file "NaN, seen by one rank of three" 5 3 nan.h5 "nan.h5: /train/x has NaN in row 137"
  file "an infinity in the test split" 5 0 inf.h5 "inf.h5: /test/x has an infinity in row 7"
  file "without train/x" 5 0 no-x.h5 "no-x.h5 has no /train/x"
  file "of one dimension" 5 0 rank.h5 "rank.h5: /train/x has 1 dimension; points are [N, C], images [N, H, W, C]"
  file "splits of different shape" 5 3 shape.h5 "shape.h5: /test/x has samples of 1 x 1 x 3 float32, /train/x of 1 x 1 x 2 float32"
  file "samples of 2^33 numbers" 5 3 wide.h5 "wide.h5: /train/x has samples of 1 x 1 x 8589934592; allowed: fewer than 2^31 numbers"
  file "64-bit floats" 5 0 double.h5 "double.h5: /train/x holds 64-bit floats; diffx takes uint8 or float32"
  file "splits of different type" 5 0 mixed.h5 "mixed.h5: /test/x has samples of 1 x 1 x 2 uint8"
  file "no rows" 5 0 zero.h5 "zero.h5: /train/x has no rows"
  file "no test split" 5 0 no-test.h5 "no-test.h5 has no test split" "evaluate.every: never"
  file "a label too few" 5 0 label.h5 "label.h5: /train/label has 199 rows, /train/x has 200"
  file "scale 0" 5 0 scale.h5 "scale.h5: the attribute scale is 0; it must be above 0"
  file "outside its declared range" 5 0 range.h5 "range.h5: /test/x has 0.75 in row 0, outside the declared range -0.5 to 0.5"
  file "a format of the future" 5 0 new.h5 "new.h5 has format 99; this diffx reads formats up to 1"
else
  ok 0 "data files made by h5py # SKIP no h5py"
fi
no_result $bad_out "and none of these left a result"

# --- the run's folder ------------------------------------------------------------------------
ranks 2 file.yaml >said 2>&1
judge $? "a good run"
sum() {           # of all that a refused command may not touch
  find file -type f ! -name log.txt -exec cksum {} + | sort
}
sum >before
cp other.h5 good.h5
refused "data changed since the run began" 5 2 "step-00000020.h5 was made with other data" "the dataset has changed since the run began" -- file.yaml train.steps=40
"$diffx" data make moons good.h5 train=200 test=50 --force >/dev/null 2>&1
refused "another experiment in the folder" 3 3 "is another experiment" "process.timesteps (20 there, 30 here)" "model.hidden ([16] there, [8] here)" \
  "train.batch (16 there, 24 here)" "choose another output" -- file.yaml model.hidden=[8] train.batch=24 process.timesteps=30
refused "and --dry-run says so too" 3 0 "train.batch (16 there, 24 here)" -- file.yaml train.batch=24 --dry-run
mkdir young
cp file/experiment.yaml file/journal young
refused "another experiment that has no checkpoint yet" 3 1 "young" "train.batch (16 there, 24 here)" -- file.yaml output=young train.batch=24
echo hello >in-the-way
refused "a file in the folder's place" 4 3 "cannot make the folder in-the-way: a file of that name is in the way" -- file.yaml output=in-the-way/run
refused "and --dry-run says so too" 4 0 "in-the-way is a file" -- file.yaml output=in-the-way/run --dry-run
refused "a run folder for the experiment" 2 0 "file is a run folder, not an experiment file; diffx file/experiment.yaml goes on" -- file --dry-run
refused "a record for the experiment" 3 0 "file/metrics.h5:1:1: not a text file" -- file/metrics.h5 --dry-run
refused "an experiment to sample from" 5 1 "no run folder and no good checkpoint" "file.yaml is not an HDF5 file" -- sample file.yaml
refused "an experiment to evaluate" 5 1 "no run folder and no good checkpoint" "file.yaml is not an HDF5 file" -- evaluate file.yaml
refused "a record for a checkpoint" 5 1 "file/metrics.h5 is a record file of diffx, not a checkpoint" -- sample file/metrics.h5
refused "a checkpoint for data" 5 0 "step-00000020.h5 is a checkpoint file of diffx, not a dataset" -- file.yaml data.file=file/checkpoints/step-00000020.h5 output=$bad_out --dry-run
refused "no run to sample from" 4 3 "nowhere: no such run folder or checkpoint" -- sample nowhere
refused "status of an experiment" 4 0 "file.yaml is no run folder" -- status file.yaml
refused "status of nothing" 4 0 "nowhere is no run folder" -- status nowhere
refused "evaluate into no folder" 4 1 "cannot write no/e.h5" "No such file or directory" -- evaluate file -o no/e.h5
refused "sample over an experiment" 4 1 "file.yaml stands there and is another file: it is not overwritten" -- sample file -o file.yaml
refused "sample with another model" 5 3 "is of another model: its layer0.w is [16 3], this experiment's is [64 3]" -- sample file model.hidden=[64]
refused "a checkpoint of another model to start from" 5 3 "train.init_from" "is of another model" "[16 3]" "[8 3]" -- file.yaml train.init_from=file model.hidden=[8] output=$bad_out
refused "nothing to start from" 4 1 "train.init_from: nowhere: no such run folder or checkpoint" -- file.yaml train.init_from=nowhere output=$bad_out
no_result $bad_out "and none of these left a result"
sum >after
cmp before after
ok $? "and the run that stood there is untouched"

# in use: the lock of a living process on this host
timeout 100 "$diffx" "$exp/smoke.yaml" output=busy train.steps=1000000000 run.threads=1 evaluate.every=never sample.every=never >busy.log 2>&1 &
job=$!
i=0
while ! test -e busy/metrics.h5 && test $i -lt 600; do sleep 0.05; i=$((i + 1)); done
refused "a folder in use by another job" 4 3 "busy is in use by process" "if that is not so, remove busy/lock" -- "$exp/smoke.yaml" output=busy train.steps=1000000000
touch busy/stop
wait $job
test $? = 75
ok $? "and the other job went on until it was asked to stop"

# not writable
mkdir shut
tmpfs=no
if test "$(id -u)" != 0; then chmod 555 shut && closed="Permission denied"
elif mount -t tmpfs -o ro,size=100k tmpfs shut 2>/dev/null; then tmpfs=yes closed="Read-only file system"
else closed=; fi
if test -n "$closed"; then
  refused "a folder that is not writable" 4 3 "cannot make the folder shut/run: $closed" -- file.yaml output=shut/run
  refused "and --dry-run says so too" 4 0 "cannot write in shut: $closed" -- file.yaml output=shut/run --dry-run
else
  ok 0 "a folder that is not writable # SKIP root writes everywhere, and may not mount here"
fi
test $tmpfs = yes && umount shut
chmod 755 shut

# --- while the run is at work ----------------------------------------------------------------
# a NaN loss, and the same again on resume
set_up="train.rate=1e30 train.checkpoint_every=1"
refused "a NaN loss" 7 3 "step 2: the loss of example" "on rank " " at timestep t = " "NaN" "the last good checkpoint stays: nan/checkpoints/step-00000001.h5" -- "$exp/smoke.yaml" output=nan $set_up
cksum nan/checkpoints/* >before
sed 's/rank [0-9]*: //; s/on rank [0-9]* //' said >first
refused "and again on resume, on other ranks" 7 2 "step 2: the loss of example" "NaN" "step-00000001.h5" -- "$exp/smoke.yaml" output=nan $set_up
grep 'diffx: error' first >first-error
sed 's/rank [0-9]*: //; s/on rank [0-9]* //' said | grep 'diffx: error' | cmp - first-error
ok $? "in the same words"
cksum nan/checkpoints/* | cmp - before && test ! -e nan/lock
ok $? "and the good checkpoint stays"
grep -q "error: .*the loss of example" nan/log.txt
ok $? "and the log tells it"

refused "weights that ran away in the last step" 7 2 "step 1: the bound of the test split is" -- "$exp/smoke.yaml" output=away train.steps=1 train.rate=1e30

# a folder that is no run's
mkdir others && echo mine >others/notes
ranks 1 "$exp/smoke.yaml" output=others train.steps=1 evaluate.every=never sample.every=never >said 2>&1 && test "$(cat others/notes)" = mine &&
  test "$(grep -c "output others is no run's folder and holds other things, such as notes" said)" = 1 &&
  grep -q "such as notes" others/log.txt && ranks 1 "$exp/smoke.yaml" output=others train.steps=2 evaluate.every=never sample.every=never >again 2>&1 &&
  ! grep -q "such as notes" again
judge $? "that is said, once"
"$diffx" "$exp/smoke.yaml" output="$exp" --dry-run >said 2>&1 && words said "holds other things, such as "
judge $? "and by --dry-run"

# results never replace what they are not
ranks 1 "$exp/smoke.yaml" output=own run.threads=1 >said 2>&1
cksum own/metrics.h5 own/checkpoints/*.h5 own/samples/*.h5 >before
refused "evaluate over the record" 4 1 "metrics.h5 stands there and is a run's own file: it is not overwritten" -- evaluate own -o own/metrics.h5
refused "sample over a checkpoint" 4 2 "step-00000060.h5 stands there and is another file: it is not overwritten" -- sample own -o own/checkpoints/step-00000060.h5
cksum own/metrics.h5 own/checkpoints/*.h5 own/samples/*.h5 | cmp - before
ok $? "and the run's files stay"
ranks 1 sample own sample.count=5 >said 2>&1 && ranks 1 sample own sample.count=6 >said 2>&1 && test -s own/samples/drawn-00000060.h5 && test -s own/samples/drawn-00000060-2.h5
judge $? "samples drawn twice are two files"
refused "train.steps below what is done" 3 1 "train.steps is 50, but the run in own stands at step 60" -- "$exp/smoke.yaml" output=own train.steps=50
cksum own/metrics.h5 own/experiment.yaml >before
ranks 2 "$exp/smoke.yaml" output=own evaluate.examples=10 run.threads=1 >said 2>&1
words said "already at step 60 of 60: keys given here change nothing" && cksum own/metrics.h5 own/experiment.yaml | cmp - before
judge $? "a run at its end says so and keeps its record and its settings"
rm own/samples/step-00000060.h5
ranks 1 "$exp/smoke.yaml" output=own >said 2>&1 && test -s own/samples/step-00000060.h5 && test -s own/metrics.h5 && ! grep -q "change nothing" said
judge $? "what it lacks is made"
echo junk >own/metrics.h5
ranks 1 "$exp/smoke.yaml" output=own >said 2>&1 && test "$(wc -c <own/metrics.h5)" -gt 10000
judge $? "a record that is damaged is made anew"
cp own/metrics.h5 whole.h5
ranks 1 "$exp/smoke.yaml" output=short run.threads=1 train.steps=40 >said 2>&1
cp short/metrics.h5 own/metrics.h5
ranks 1 "$exp/smoke.yaml" output=own >said 2>&1 && "$diffx" compare own whole.h5 >said 2>&1
judge $? "and one that lacks rows, as after a kill before it was written"

# a write fails in the middle; with room again the same command ends with the same bits
set_up="train.steps=2000 train.checkpoint_every=100 evaluate.every=never run.keep=100 run.threads=1"
ranks 1 "$exp/smoke.yaml" output=roomy $set_up >said 2>&1
judge $? "the run that has room"
recovers() {      # recovers RUN NAME
  ranks 2 "$exp/smoke.yaml" output="$1" $set_up >said 2>&1 &&
    "$diffx" compare roomy "$1" >>said 2>&1 && cmp roomy/checkpoints/step-00002000.h5 "$1/checkpoints/step-00002000.h5" >>said 2>&1 &&
    words said "resuming from $1/checkpoints/step-00000" && test -z "$(find "$1" -name '*.part')"
  judge $? "$2"
}
cat >limited <<S
trap '' XFSZ
ulimit -f 150
exec "$diffx" "$exp/smoke.yaml" output=limited-run $set_up
S
timeout -k 5 60 "${MPIEXEC:-mpiexec}" -n 1 sh limited >said 2>&1
test $? = 4 && words said "cannot write limited-run/" "File too large" "the last good checkpoint stays: limited-run/checkpoints/step-00000" "the same command goes on"
judge $? "a file that may not grow"
recovers limited-run "and with the limit gone the run ends with the same bits"

mkdir full
for size in 280k 400k; do
  if test "$(id -u)" = 0 && mount -t tmpfs -o size=$size tmpfs full 2>/dev/null; then
    ranks 3 "$exp/smoke.yaml" output=full/run $set_up >said 2>&1
    test $? = 4 && words said "cannot write full/run/" "No space left on device" "the last good checkpoint stays: full/run/checkpoints/step-00000"
    judge $? "a disk of $size is full"
    "$diffx" status full/run >said 2>&1 && words said "nobody" "step-00000"
    judge $? "status can still be asked"
    mount -o remount,size=20m full
    recovers full/run "and with room again the run ends with the same bits"
    umount full
  else
    ok 0 "a disk of $size is full # SKIP only root can mount a small one"
  fi
done
done_testing
