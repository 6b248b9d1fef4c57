#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# 8-bit images through whole runs: bits per dimension, mirrored examples, the same bits everywhere.
. "${srcdir:-.}/tests/lib.sh"
cat > tiny.yaml <<'EOF'
name: tiny
data:      {kind: shapes, size: 8, train: 300, test: 40, flip: true}
process:   {schedule: linear, timesteps: 50}
model:     {kind: mlp, hidden: [64]}
train:     {steps: 60, batch: 40, grain: 8, ema: 0.9, log_every: 10, by_t_every: 25, checkpoint_every: 20}
evaluate:  {grain: 8}
sample:    {count: 20, grain: 4}
EOF

run() {           # run RANKS OUTPUT KEYS...
  r=$1 out=$2
  shift 2
  ranks "$r" tiny.yaml output="$out" "$@" >>"$out.log" 2>&1
}
equal() {         # equal A B: records and checkpoints
  "$diffx" compare "$1" "$2" >"$2.cmp" 2>&1 && cmp "$1/checkpoints/step-00000060.h5" "$2/checkpoints/step-00000060.h5" &&
    cmp "$1/checkpoints/step-00000040.h5" "$2/checkpoints/step-00000040.h5" &&
    cmp "$1/samples/step-00000060.h5" "$2/samples/step-00000060.h5"
}

run 1 ref run.threads=1
bad=$?
ok $bad "a run on images"
test $bad = 0 || show ref.log
for how in "3 1" "2 2"; do
  set -- $how
  run "$1" "r$1" run.threads="$2" && equal ref "r$1" >>"r$1.log"
  bad=$?
  ok $bad "the same bits on $1 ranks x $2 threads"
  test $bad = 0 || show "r$1.log" "r$1.cmp"
done

# steps 21 to 25 are in a window that the checkpoint of step 20 opened
for step in 20 40; do
  cp -r ref "cut$step"
  for later in $(seq $((step + 20)) 20 60); do rm "cut$step/checkpoints/step-000000$later.h5"; done
  run 3 "cut$step" run.threads=1 && grep -q "resuming from.*step-000000$step.h5" "cut$step.log" && equal ref "cut$step" >>"cut$step.log"
  bad=$?
  ok $bad "the same bits from the checkpoint of step $step on"
  test $bad = 0 || show "cut$step.log" "cut$step.cmp"
done

if grep -q 'built without libpng' ref.log; then
  ok 0 "a picture of the samples # SKIP built without libpng"
else
  cmp ref/samples/step-00000060.png r3/samples/step-00000060.png
  ok $? "a picture of the samples, the same from all"
fi

run 1 plain run.threads=1 data.flip=false && "$diffx" compare ref plain >plain.cmp 2>&1
test $? = 5
ok $? "unmirrored, another answer"
ranks 1 "$exp/smoke.yaml" output=points data.flip=true >points.log 2>&1
test $? = 3 && grep -q 'data.flip is true, but moons holds points; only images can be mirrored' points.log
ok $? "points cannot be mirrored"

cat > net.yaml <<'EOF'
name: net
data:      {kind: shapes, size: 8, train: 64, test: 16}
process:   {schedule: linear, timesteps: 50}
model:     {kind: unet, channels: 8, multipliers: [1, 2], blocks: 1, attention: [4], norm_groups: 4}
train:     {steps: 6, batch: 16, grain: 4}
evaluate:  {every: never}
sample:    {every: never}
EOF
ranks 1 net.yaml output=unwatched run.threads=1 >unwatched.log 2>&1 && ranks 1 net.yaml output=watched run.threads=2 run.profile=true >watched.log 2>&1 &&
  "$diffx" compare unwatched watched >watched.cmp 2>&1 && grep -q 'conv winograd *backward' watched.log && grep -q 'more than 100% is right' watched.log && ! test -e unwatched/profile.csv
bad=$?
ok $bad "a profile, and the same bits with it"
test $bad = 0 || show unwatched.log watched.log watched.cmp
cp watched/profile.csv kept.csv
ranks 1 net.yaml output=watched run.threads=2 run.profile=true >watched.log 2>&1 && cmp kept.csv watched/profile.csv >watched.cmp 2>&1
ok $? "a run at its end keeps its profile"
# conv_in: 24 grains x 4 examples x 64 pixels x 9 x 3 x 8 products; no layer is slower than all; every layer but norms has operations
awk -F, 'NR < 3 { next } { calls[$3] += $1 == "conv_in" ? $4 : 0; if ($1 == "conv_in" && $3 == "forward") flops = $6
    if ($5 < 0 || $4 < 1) bad = 1; if ($6 == 0 && $2 != "rest" && $2 !~ /^norm/) bad = 1; n++ }
  END { exit !(n > 40 && !bad && calls["forward"] == 24 && calls["backward"] == 24 && flops == 2 * 24 * 4 * 64 * 27 * 8) }' watched/profile.csv
bad=$?
ok $bad "calls and operations of the layers"
test $bad = 0 || show watched/profile.csv
if "${PYTHON:-python3}" -c 'import h5py, matplotlib' 2>/dev/null; then
  "${PYTHON:-python3}" "$top/analysis/profile.py" watched -o roof.svg >roof.log 2>&1 && grep -q 'conv winograd' roof.svg &&
    { echo nonsense >other.csv; "${PYTHON:-python3}" "$top/analysis/profile.py" other.csv -o other.svg >other.log 2>&1; test $? = 5; } &&
    grep -q 'other.csv: not a profile that diffx wrote' other.log
  bad=$?
  ok $bad "it is drawn"
  test $bad = 0 || show roof.log other.log
  "${PYTHON:-python3}" "$top/analysis/by_class.py" ref plain --labels ref,plain -o classes.svg --csv classes.csv >classes.log 2>&1 &&
    test "$(grep -c '^ref,60,' classes.csv)" -gt 2 && { "${PYTHON:-python3}" "$top/analysis/by_class.py" watched -o x.svg >other.log 2>&1; test $? = 5; } &&
    grep -q 'no evaluation in this record' other.log
  bad=$?
  ok $bad "classes are drawn"
  test $bad = 0 || show classes.log other.log
else
  ok 0 "it is drawn # SKIP no h5py and matplotlib here"
  ok 0 "classes are drawn # SKIP no h5py and matplotlib here"
fi

if ! "${PYTHON:-python3}" -c 'import h5py, numpy' 2>/dev/null; then
  ok 0 "the numbers # SKIP no h5py and numpy here"
  done_testing
  exit
fi
# One training several times: convolutions as they are chosen, all of them by patches, from another seed, and on tiles.
whole() {         # whole NAME KEYS...
  out=whole-$1
  shift
  ranks 1 "$exp/smoke-unet.yaml" output="$out" model.channels=16 train.log_every=1 evaluate.every=never sample.every=never run.threads=1 "$@" \
    >>whole.log 2>&1 || show whole.log
}
whole auto
whole direct model.conv=direct
whole other seed=8
if "$diffx" list | grep -q '^  amx '; then whole tiles run.kernels=amx; fi
"${PYTHON:-python3}" - > said <<'EOF'
import glob, h5py, math, numpy as np
def say(good, words): print("holds" if good else "fails", words)
f = h5py.File("ref/metrics.h5")
D = f.attrs["dimension"]
kl = {k: f["kl"][k][-1] for k in f["kl"] if k != "t"}
say(D == 192 and abs(kl["decoder_bits"] * D * math.log(2) - kl["decoder"]) < 1e-9 * kl["decoder"], "nats and bits/dim")
say(0 < kl["decoder_bits"] < 12 and kl["decoder"] == kl["vb"][0], "L_0 is a probability")
say(abs(kl["decoder_variance"] - f["process/posterior_variance"][1]) < 1e-15, "its variance is beta~_2")
say(abs(kl["total"] - kl["prior"] - np.sum(kl["vb"])) < 1e-9 * kl["total"], "the total is the sum of the terms")
# a network that has learnt nothing: what x_t tells of x_0 is within the clipped range
say(np.all(kl["x0_mse"] <= 4), "x0hat is clipped to the range")
rows = f["train_by_t/kl"][:, 0]
say(np.all(np.isnan(rows) | (rows > 0)) and not np.all(np.isnan(rows)), "L_0 of the training windows")
n, mean, se = kl["class_count"], kl["class_total"], kl["class_total_stderr"]
some = n > 0
say(n.sum() == 40 == kl["examples"] and abs((n * mean)[some].sum() / 40 - kl["total"]) < 1e-12 * kl["total"] and
    np.isnan(mean[~some]).all(), "the classes' totals make the total")
# the variance of all = within classes + between them
within, between = (n * (n - 1) * se**2)[n > 1].sum(), (n * (mean - kl["total"])**2)[some].sum()
say(abs((within + between) / (40 * 39) - kl["total_stderr"]**2) < 1e-9 * kl["total_stderr"]**2, "and their errors its error")
x = h5py.File("ref/samples/step-00000060.h5")
say(x["x"].shape == (20, 8, 8, 3) and x["x"][:].min() >= 0 and x["x"][:].max() <= 255 and
    x["x"][:].std() > 10, "samples are in the range of the data")
say(np.allclose(x["reference"][:], np.round(x["reference"][:]), rtol=0, atol=1e-4), "the reference is whole numbers")
loss = {run[6:]: h5py.File(f"{run}/metrics.h5")["train/loss"][:] for run in glob.glob("whole-*")}
noise = abs(loss["auto"] - loss["other"]).std()
for run in ("direct", "tiles") if "tiles" in loss else ("direct",):
    far = abs(loss["auto"] - loss[run]).max()
    say(len(loss[run]) == 60 and 0 < far < 1e-4 * noise, f"loss curves of model.conv auto and {run}: {far:.1e} apart at most, seeds {noise:.1e}")
try:
    from PIL import Image
    grid = np.asarray(Image.open("ref/samples/step-00000060.png")).astype(int)
    want = np.round(x["x"][7]).astype(int).repeat(8, 0).repeat(8, 1)  # row 1, column 2 of 5 columns, 64 pixels each
    say(grid.shape == (266, 332, 3) and abs(grid[68:132, 134:198] - want).max() <= 1 and (grid[:2] == 255).all(),
        "the picture shows the samples")
except (ImportError, FileNotFoundError):
    say(True, "the picture # SKIP no PIL or no libpng here")
EOF
while read -r good words; do
  test "$good" = holds
  ok $? "$words"
done < said
test "$(wc -l < said)" = $((12 + $(ls -d whole-tiles 2>/dev/null | wc -l)))
ok $? "all numbers looked at"
done_testing
