#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Several moving averages at once: each is what it would be alone, on any ranks, resumed, and can be chosen by its rate.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
"$py" -c 'import h5py, numpy' 2>/dev/null || skip "$py has no h5py or numpy (PYTHON names another)"
last=checkpoints/step-00000060.h5
list="train.ema=[0.9,0.99,0.5] run.threads=1"

refused() {       # refused NAME STATUS WORDS ARGS...
  name=$1 want=$2 words=$3
  shift 3
  ranks 2 "$@" >said 2>&1
  test $? = "$want" && grep -qF -e "$words" said
  judge $? "$name"
}
python() {        # python NAME: the program on stdin must end well
  "$py" - >said 2>&1
  judge $? "$1"
}

# --- each is what it would be alone ----------------------------------------------------------------
good "three averages" "$diffx" "$exp/smoke.yaml" output=list $list
for rate in 0.9 0.99 0.5; do
  good "the average $rate alone" "$diffx" "$exp/smoke.yaml" output=one-$rate train.ema=$rate run.threads=1
done
good "no average" "$diffx" "$exp/smoke.yaml" output=none train.ema=none run.threads=1
python "the same bits, and each of its own" <<'P'
import h5py
f = h5py.File("list/checkpoints/step-00000060.h5")
none = h5py.File("none/checkpoints/step-00000060.h5")
assert [k for k in f if k.startswith("ema")] == ["ema-0.5", "ema-0.9", "ema-0.99"] and "ema" not in none, list(f)
for rate in "0.9", "0.99", "0.5":
    one = h5py.File(f"one-{rate}/checkpoints/step-00000060.h5")
    assert [k for k in one if k.startswith("ema")] == ["ema"]
    assert f["ema-" + rate][:].tobytes() == one["ema"][:].tobytes() != f["weights"][:].tobytes()
    for k in "weights", "moment1", "moment2":
        assert f[k][:].tobytes() == one[k][:].tobytes() == none[k][:].tobytes(), (rate, k)
assert f["ema-0.9"][:].tobytes() != f["ema-0.99"][:].tobytes()
P

# --- the recursion from the weights of every step --------------------------------------------------
for warmup in none inverse half-life; do
  good "$warmup: every step kept" ranks 2 "$exp/smoke.yaml" output=warm-$warmup $list train.ema_warmup=$warmup train.checkpoint_every=1 run.keep=99 \
    evaluate.every=never sample.every=never
done
good "the start" "$diffx" "$exp/smoke.yaml" output=start train.steps=0 evaluate.every=never sample.every=never run.threads=1
python "each average follows its recursion, with each warm-up" <<'P'
import h5py, numpy as np
start = h5py.File("start/checkpoints/step-00000000.h5")["weights"][:].astype(float)
decay = {"none": lambda r, n: r, "inverse": lambda r, n: min(r, (1 + n) / (10 + n)),
         "half-life": lambda r, n: min(r, 0.5 ** (1 / max(0.05 * (n - 1), 1e-8)))}
ends = {}
for warmup, d in decay.items():
    for rate in 0.9, 0.99, 0.5:
        e = start
        for n in range(1, 61):
            with h5py.File(f"warm-{warmup}/checkpoints/step-{n:08d}.h5") as f:
                keep = float(np.float32(d(rate, n)))
                e = keep * e + (1 - keep) * f["weights"][:]
                off = np.sqrt(np.mean((f[f"ema-{rate}"][:] - e) ** 2) / np.mean(e**2))
            assert off < 1e-6, (warmup, rate, n, off)
        ends[warmup, rate] = e
far = [np.abs(ends[a, 0.99] - ends[b, 0.99]).max() for a, b in (("none", "inverse"), ("inverse", "half-life"))]
assert min(far) > 1e-4, far
P

# --- any ranks and threads, and resumed ------------------------------------------------------------
more="$list train.ema_warmup=inverse sample.weights=ema-0.5 evaluate.weights=ema-0.99 model.hidden=[150,150]"
good "a reference, wider than a slice" "$diffx" "$exp/smoke.yaml" output=ref $more
for r in 3 5; do
  ranks $r "$exp/smoke.yaml" output=ranks-$r $more run.threads=2 >said 2>&1 && cmp ref/$last ranks-$r/$last >>said 2>&1 &&
    "$diffx" compare ref ranks-$r >>said 2>&1 && cmp ref/samples/step-00000060.h5 ranks-$r/samples/step-00000060.h5 >>said 2>&1
  judge $? "$r ranks x 2 threads: the same bits"
done
rm ranks-3/checkpoints/step-00000060.h5 ranks-3/checkpoints/step-00000040.h5 ranks-3/samples/step-00000060.h5
ranks 2 "$exp/smoke.yaml" output=ranks-3 $more >said 2>&1 && grep -q "resuming from ranks-3/checkpoints/step-00000020.h5" said &&
  cmp ref/$last ranks-3/$last >>said 2>&1 && "$diffx" compare ref ranks-3 >>said 2>&1 &&
  cmp ref/samples/step-00000060.h5 ranks-3/samples/step-00000060.h5 >>said 2>&1
judge $? "taken back to step 20 and gone on with 2 ranks: the same bits"
refused "gone on with other rates" 3 "train.ema ([0.9, 0.99, 0.5] there, [0.9, 0.99] here)" "$exp/smoke.yaml" output=ref $more train.ema=[0.9,0.99] sample.weights=raw
refused "gone on with another warm-up" 3 "train.ema_warmup (inverse there, none here)" "$exp/smoke.yaml" output=ref $more train.ema_warmup=none

# --- which one is evaluated and drawn from ---------------------------------------------------------
for rate in 0.9 0.99 0.5; do
  "$diffx" evaluate one-$rate -o one-$rate.h5 2>/dev/null >one.txt && ranks 2 evaluate list evaluate.weights=ema-$rate -o list-$rate.h5 >list.txt 2>said &&
    grep -qF "averaged weights (ema-$rate)" list.txt && head -5 one.txt >a && head -5 list.txt | cmp - a >>said 2>&1
  judge $? "evaluate.weights=ema-$rate: the bound of the run with that average alone"
  "$diffx" sample one-$rate -o one-$rate-s.h5 >said 2>&1 && ranks 2 sample list sample.weights=ema-$rate -o list-$rate-s.h5 >>said 2>&1
  judge $? "sample.weights=ema-$rate"
done
good "raw weights" ranks 2 evaluate list evaluate.weights=raw -o list-raw.h5
good "of the run without averages" ranks 2 evaluate none -o none.h5
python "files tell which, samples are those of that average alone" <<'P'
import h5py
bounds = []
for place, rate in enumerate(("0.9", "0.99", "0.5"), 1):
    kl = h5py.File(f"list-{rate}.h5")["kl"]
    bounds.append(kl["total"][0])
    assert kl["ema"][0] == place and h5py.File(f"one-{rate}.h5")["kl/ema"][0] == 1
    a, b = (h5py.File(f"{n}-{rate}-s.h5") for n in ("one", "list"))
    assert a["x"][:].tobytes() == b["x"][:].tobytes() and b.attrs["ema"] == place and b.attrs["weights"] == "ema-" + rate
    assert a.attrs["ema"] == 1 and "weights" not in a.attrs
kl = h5py.File("list-raw.h5")["kl"]
bounds.append(kl["total"][0])
assert kl["ema"][0] == 0 and kl["total"][0] == h5py.File("none.h5")["kl/total"][0]
assert len(set(bounds)) == 4, bounds
assert h5py.File("list/metrics.h5")["kl/total"][-1] == bounds[0] and list(h5py.File("ref/metrics.h5")["kl/ema"][:]) == [2, 2]
P

PYTHONPATH=$top/analysis PYTHONDONTWRITEBYTECODE=1 python "analysis names them" <<'P'
from diffx_analysis import Run, Samples
found = [Run(f + ".h5").evaluation().weights for f in ("list-0.9", "list-0.99", "list-raw", "one-0.9")]
found += [Samples(f + "-s.h5").weights for f in ("list-0.5", "one-0.5")]
assert found == ["averaged (0.9)", "averaged (0.99)", "raw", "averaged", "averaged (0.5)", "averaged"], found
P

# --- what is refused -------------------------------------------------------------------------------
refused "a rate that was not trained" 3 "command line: evaluate.weights is ema-0.95; allowed: raw, ema (the first of train.ema), ema-0.9, ema-0.99, ema-0.5" \
  evaluate list evaluate.weights=ema-0.95
refused "the same in an experiment" 3 "command line: sample.weights is ema-0.95; allowed: raw, ema (the average), ema-0.9" \
  "$exp/smoke.yaml" output=x train.ema=0.9 sample.weights=ema-0.95
refused "other rates than the checkpoint's" 5 "$last holds no weights ema-0.95; there are: raw, ema-0.5, ema-0.9, ema-0.99" \
  evaluate list train.ema=[0.9,0.95] evaluate.weights=ema-0.95
refused "a rate twice" 3 "command line: train.ema has 0.9 in place 2; allowed in a list: rates above 0, each once" "$exp/smoke.yaml" output=x train.ema=[0.9,0.9]
refused "nine rates" 3 "too many numbers; allowed: a number from 0 to 0.9999999, or a list of up to 8 of them, or none" \
  "$exp/smoke.yaml" output=x train.ema=[.1,.2,.3,.4,.5,.6,.7,.8,.9]

# --- --dry-run: 1051650 numbers in 4 bytes each, of which each average takes one more --------------
for rates in none 0.9 [0.9,0.99,0.999]; do
  "$diffx" "$exp/smoke.yaml" output=plan model.hidden=[1024,1024] train.ema=$rates --dry-run --ranks 1 evaluate.every=never sample.every=never >>plans 2>&1
done
"$py" - <<'P' >said 2>&1
import re
text = open("plans").read()
floats = int(re.search("parameters +(\\d+)", text)[1])
always, file, disk = ([float(a) for a in re.findall(p, text)] for p in (" always +([\\d.]+)", "in a checkpoint ([\\d.]+)", "disk +([\\d.]+)"))
one = 4 * floats / 2**20
for k, averages in enumerate((0, 1, 3)):
    assert abs(always[k] - (4 + averages) * one) < 0.3 and abs(file[k] - one) < 0.3, (one, always, file)
assert abs(disk[1] - disk[0] - 4 * one) < 0.3 and abs(disk[2] - disk[0] - 12 * one) < 0.5, (one, disk)
P
judge $? "--dry-run counts each average in memory and on the disk, and of a checkpoint one vector"

# --- export and predict ----------------------------------------------------------------------------
good "a U-Net with two averages" ranks 2 "$exp/smoke-unet.yaml" output=unet train.ema=[0.9,0.5] run.threads=1 train.steps=6 evaluate.every=never sample.every=never
good "export of the first" "$diffx" model export unet first --ema
good "export of the first by its rate" "$diffx" model export unet first-too --ema=0.9
good "export of the second" "$diffx" model export unet second --ema=0.5
good "export of the raw weights" "$diffx" model export unet raw
cmp first/diffusion_pytorch_model.safetensors first-too/diffusion_pytorch_model.safetensors >said 2>&1
judge $? "the first is the first"
good "export by the whole name" "$diffx" model export unet second-too --ema=ema-0.5
cmp second/diffusion_pytorch_model.safetensors second-too/diffusion_pytorch_model.safetensors >said 2>&1
judge $? "is that of its rate"
refused "export of a rate that was not trained" 2 "--ema is ema-0.7; allowed: raw, ema (the first of train.ema), ema-0.9, ema-0.5" model export unet bad --ema=0.7
python "the tensors are those in the checkpoint" <<'P'
import h5py, json, numpy as np
f = h5py.File("unet/checkpoints/step-00000006.h5")
for folder, vector in ("first", "ema-0.9"), ("second", "ema-0.5"), ("raw", "weights"):
    bytes = open(folder + "/diffusion_pytorch_model.safetensors", "rb").read()
    n = int.from_bytes(bytes[:8], "little")
    head, data, whole = json.loads(bytes[8:8 + n]), bytes[8 + n:], f[vector][:]
    for name, where in f["parameters"].items():
        t = head[name[:-2] + {"w": ".weight", "b": ".bias"}[name[-1]]]
        (a, b), (at, count) = t["data_offsets"], where[:]
        ours, theirs = whole[at:at + count], np.frombuffer(data[a:b], "<f4")
        shape = [int(s) for s in where.attrs["shape"].split()]
        if len(shape) == 4:
            ours = ours.reshape(shape).transpose(0, 3, 1, 2).ravel()
        assert ours.tobytes() == theirs.tobytes(), (folder, name)
with h5py.File("in.h5", "w") as g:
    g["x"], g["t"] = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("f4"), np.array([1., 7., 20.])
    if f.attrs["classes"]: g["label"] = np.arange(3) % f.attrs["classes"]
P
for w in "" =0.9 =0.5; do good "predict --ema$w" ranks 2 predict unet in.h5 "y${w#=}.h5" "--ema$w"; done
python "predictions tell which weights" <<'P'
import h5py
y = [h5py.File(n + ".h5") for n in ("y", "y0.9", "y0.5")]
assert [a.attrs["ema"] for a in y] == [1, 1, 2]
assert (y[0]["prediction"][:] == y[1]["prediction"][:]).all() and (y[0]["prediction"][:] != y[2]["prediction"][:]).any()
P
refused "predict by a rate that was not trained" 2 "--ema is ema-0.7; allowed: raw" predict unet in.h5 bad.h5 --ema=0.7
done_testing
