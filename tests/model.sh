#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Networks that come from diffusers and go there, and what they predict: model import, model export, predict, train.init_from.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
golden=$top/tests/golden/unet2d

refused() {       # refused NAME STATUS RANKS WORDS ARGS...
  name=$1 want=$2 many=$3 words=$4
  shift 4
  ranks "$many" "$@" >said 2>&1
  test $? = "$want" && grep -qF -e "$words" said
  judge $? "$name"
}
if "$diffx" model import "$golden" x.h5 2>&1 | grep -q 'built without jansson'; then skip "built without jansson"; fi
rm -f x.h5

# --- a trained network goes out and comes in again -------------------------------------------------
same="seed=7 process.schedule=cosine process.timesteps=50 objective.variance=fixed-small data.kind=shapes data.size=8 data.train=40 data.test=10"
how="evaluate.grain=2 evaluate.examples=7 evaluate.timesteps=10"
good "a small run" ranks 2 "$exp/smoke-unet.yaml" output=run run.threads=1 train.steps=20
good "export" "$diffx" model export run out
files="config.json diffusion_pytorch_model.safetensors"
test "$(cd out && find . -type f | sort | tr '\n' ' ')" = "./config.json ./diffusion_pytorch_model.safetensors ./model_index.json ./scheduler/scheduler_config.json "
judge $? "network, scheduler and index, nothing else"
good "import" "$diffx" model import out in.h5 $same
grep -q "a U-Net of .* parameters for images of 8 x 8 x 3" said && grep -q "cosine, 50 timesteps" said && grep -q "need images of that shape" said
judge $? "and it says what it is and what it lacks"
ranks 1 evaluate run $how evaluate.weights=raw -o a.h5 2>/dev/null | grep -v '^step' >a.txt
ranks 2 evaluate in.h5 $how -o b.h5 2>/dev/null | grep -v '^step' >b.txt
test -s a.txt && cmp a.txt b.txt >said 2>&1
judge $? "evaluate gives the same bound to the last digit"
good "sample takes it, too" "$diffx" sample in.h5 sample.count=2 sample.sampler=ddim sample.steps=2 -o s.h5
good "a run that starts from it" ranks 2 "$exp/smoke-unet.yaml" output=next run.threads=1 train.init_from=in.h5 train.steps=3 evaluate.every=never sample.every=never
good "and one of no step" ranks 1 "$exp/smoke-unet.yaml" output=none run.threads=1 train.init_from=in.h5 train.steps=0
ranks 1 evaluate none $how evaluate.weights=raw -o c.h5 2>/dev/null | grep -v '^step' >c.txt
cmp a.txt c.txt >said 2>&1
judge $? "it stands where the imported one does"
good "--dry-run looks at it" "$diffx" "$exp/smoke-unet.yaml" output=plan train.init_from=in.h5 --dry-run
good "exported again" "$diffx" model export in.h5 again
cmp out/diffusion_pytorch_model.safetensors again/diffusion_pytorch_model.safetensors >said 2>&1
judge $? "the same weights"
grep -v dropout out/config.json >a.txt
grep -v dropout again/config.json | cmp - a.txt >said 2>&1
judge $? "and the same config.json"

# --- schedulers that diffusers does not have, and pipelines that it has not -------------------------
fast="run.threads=1 train.steps=1 evaluate.every=never sample.every=never"
for key in objective.predict=mean objective.predict=edm objective.variance=optimal objective.variance=learned; do
  case $key in
    *=edm) more="objective.loss=edm train.t_sampling=log-normal" ;;
    *=learned) more=objective.loss=hybrid ;;
    *) more= ;;
  esac
  "$diffx" "$exp/smoke-unet.yaml" output=$key $fast $more $key >said 2>&1 && "$diffx" model export $key $key-out >said 2>&1 &&
    test "$(ls -A $key-out | tr '\n' ' ')" = "$files " && grep -qF "no scheduler beside it: diffusers has none of $(echo $key | tr = ' ')" said
  judge $? "$key: the network alone, and it says why"
done
"$diffx" "$exp/smoke-unet.yaml" output=classes $fast model.classes=3 >said 2>&1 && "$diffx" model export classes classes-out >said 2>&1 &&
  test "$(ls -A classes-out | tr '\n' ' ')" = "$files scheduler " && grep -qF "no DDPMPipeline, which does not tell a network its class" said
judge $? "with classes: a scheduler, but no pipeline"
"$diffx" model export in.h5 told >said 2>&1 && grep -qF "the checkpoint does not tell the range of its samples" said
judge $? "an imported one does not tell the range"

# --- the process comes from the folder -------------------------------------------------------------
same_data="data.kind=shapes data.size=8 data.train=40 data.test=10 seed=7"
good "import with the process that export wrote" "$diffx" model import out process.h5 $same_data
grep -qF "by out/scheduler/scheduler_config.json, process: list, 50 timesteps, predicts noise, variance fixed-small, loss simple" said
judge $? "and it says so"
ranks 1 evaluate run $how evaluate.weights=raw -o d.h5 2>/dev/null | grep -v '^step' >d.txt
ranks 1 evaluate process.h5 $how -o e.h5 2>/dev/null | grep -v '^step' >e.txt
test -s d.txt && cmp d.txt e.txt >said 2>&1
judge $? "evaluate gives the same bound to the last digit without a word of the process"
cp -r "$golden" flat
mkdir -p pipeline/scheduler
cp -r "$golden" pipeline/unet
scheduled() {     # scheduled FOLDER FILE TEXT WORDS: an import that says WORDS
  rm -f scheduled.h5
  printf '%s\n' "$3" >"$2"
  "$diffx" model import "$1" scheduled.h5 >said 2>&1 && grep -qF -e "$4" said
  judge $? "import: $4"
}
scheduled flat flat/scheduler_config.json '{"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule": "linear",
  "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": 1000, "trained_betas": null, "variance_type": "fixed_large"}' \
  "by flat/scheduler_config.json, process: linear, 1000 timesteps, predicts noise, variance fixed-large"
scheduled pipeline/unet pipeline/scheduler/scheduler_config.json '{"_class_name": "DDIMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
  "beta_start": 0.00085, "num_train_timesteps": 500, "prediction_type": "v_prediction", "rescale_betas_zero_snr": true}' \
  "scheduler_config.json, process: quadratic, 500 timesteps, predicts v, variance fixed-large"
scheduled flat flat/scheduler_config.json '{"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}' \
  "cosine, 1000 timesteps, predicts x0, variance fixed-small"
scheduled flat flat/scheduler_config.json '{"_class_name": "DDPMScheduler", "beta_schedule": "sigmoid"}' \
  'flat/scheduler_config.json is not taken whole: beta_schedule is "sigmoid", which diffx has not; process: linear, 1000 timesteps'
scheduled flat flat/scheduler_config.json '{"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 2000}' "is not taken whole: it tells no betas; process: linear, 2000 timesteps"
scheduled flat flat/scheduler_config.json '{"_class_name": "HeunDiscreteScheduler", "beta_schedule": "linear"}' "it tells not both beta_start and beta_end"
scheduled flat flat/scheduler_config.json '{"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 3.0, "prediction_type": "v_prediction"}' \
  "diffx has no snr_shift_scale; process: linear, 1000 timesteps, predicts v"
scheduled flat flat/scheduler_config.json '{"_class_name": "DDIMScheduler", "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "snr_shift_scale": 1.0}' \
  "by flat/scheduler_config.json, process: linear, 1000 timesteps"
scheduled flat flat/scheduler_config.json '{"prediction_type": "v_prediction", "variance_type": "learned"}' 'variance_type is "learned", which diffx has not'
scheduled flat flat/scheduler_config.json '{"variance_type": "learned_range"}' "the network has no channels for it; process: linear"
scheduled flat flat/scheduler_config.json '{"num_train_timesteps": 1}' "is not taken whole: process.timesteps is 1; allowed"
scheduled flat flat/scheduler_config.json '{"rescale_betas_zero_snr": true}' "is not taken whole: objective.predict"
scheduled flat flat/scheduler_config.json '{"rescale_betas_zero_snr": true, "beta_schedule": "sigmoid"}' \
  'is not taken whole: beta_schedule is "sigmoid", which diffx has not; objective.predict'
scheduled flat flat/scheduler_config.json "{\"num_train_timesteps\": 4000, \"trained_betas\": [$(awk 'BEGIN { for (i = 0; i < 3999; i++) printf "0.0012345678901234567, " }') 0.5]}" \
  "trained_betas are 4000, more than process.betas takes"
echo '{"num_train_timesteps": 4000, "rescale_betas_zero_snr": true}' >flat/scheduler_config.json
refused "a process that is wrong beside one that is given" 3 1 "objective.predict" model import flat x.h5 process.schedule=cosine
echo '{"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 50}' >flat/scheduler_config.json
refused "a wrong key beside a process that is right" 3 1 "evaluate.respace is 100; allowed" model import flat x.h5 evaluate.respace=100
refused "a process that the command line spoils" 3 1 "process.timesteps is 1; allowed" model import flat x.h5 process.timesteps=1
for wrong in '"beta_schedule": 7' '"trained_betas": [0.1, "a"]' '"trained_betas": 0.1' '"beta_schedule": "linear", "num_train_timesteps": 0.5' \
  '"snr_shift_scale": "a"' '"beta_schedule": "linear", "beta_start": "small"' '"beta_schedule": "linear", "rescale_betas_zero_snr": 3' '"beta_schedule": "linear", "prediction_type": []'; do
  echo "{$wrong}" >flat/scheduler_config.json
  key=$(echo "$wrong" | sed 's/.*"\([a-z_]*\)": [^:]*$/\1/')
  refused "import with a wrong $wrong" 5 1 "flat/scheduler_config.json: $key is " model import flat x.h5
done
echo '{"beta_schedule": ' >flat/scheduler_config.json
refused "import with half a scheduler_config.json" 5 1 "flat/scheduler_config.json" model import flat x.h5

# --- what is refused -------------------------------------------------------------------------------
refused "init_from of another network" 5 2 "train.init_from: in.h5 is of another model" "$exp/smoke-unet.yaml" output=bad train.init_from=in.h5 model.channels=16
refused "export over a folder with files" 4 1 "the folder out stands there and is not empty" model export run out
refused "export over a file" 4 1 "in.h5 stands there and is a file" model export run in.h5
refused "export into no folder" 4 1 "cannot make the folder /dev/null" model export run /dev/null/no/where
refused "--ema without an average" 2 1 "--ema: in.h5 holds no averaged weights" model export in.h5 averaged --ema
refused "export of nothing" 4 1 "nothing: no such run folder or checkpoint" model export nothing averaged
refused "export with two words too many" 2 1 "usage: diffx model import DIR OUT.h5" model exprt run out
ranks 1 "$exp/smoke.yaml" output=points train.steps=1 evaluate.every=never sample.every=never >said 2>&1
refused "export of a perceptron" 5 1 "model.kind is mlp; diffusers has the network of unet alone" model export points averaged
refused "import over a run's checkpoint" 4 1 "a run's own file: it is not overwritten" model import out run/checkpoints/step-00000020.h5
refused "import over another file" 4 1 "it is not overwritten" model import out out/config.json
refused "import into no folder" 4 1 "cannot write no/x.h5" model import out no/x.h5
refused "import as another model" 3 1 "model.kind is mlp, but a folder of diffusers holds a unet" model import "$golden" x.h5 model.kind=mlp
refused "import as no model" 3 1 "model.kind is exact, but a folder of diffusers holds a unet" model import "$golden" x.h5 model.kind=exact
refused "import with a wrong key" 3 1 "did you mean process.timesteps?" model import "$golden" x.h5 process.timestep=3
refused "import as another network" 5 1 "is missing; the network of config.json has it" model import "$golden" x.h5 model.blocks=2
refused "import of nothing" 4 1 "cannot read nothing/config.json" model import nothing x.h5
mkdir cut
cp "$golden/config.json" cut
head -c 20000 "$golden/diffusion_pytorch_model.safetensors" >cut/diffusion_pytorch_model.safetensors
refused "import of truncated weights" 5 1 "of the data; allowed: within 0 to" model import cut x.h5
refused "sampling without data" 3 1 "data.file is missing" sample in.h5 data.kind=file
test -z "$(find . -name 'x.h5*' -o -name 'averaged*' -o -name '*.part' -o -path './bad/*.h5')"
judge $? "and none of these left anything"

# --- predict ---------------------------------------------------------------------------------------
"$py" -c 'import h5py, numpy' 2>/dev/null || { done_testing; exit; }
good "import of golden/unet2d" "$diffx" model import "$golden" g.h5
"$py" - "$golden" "$top/tests/golden" <<'P' || echo "Bail out! h5py cannot write"
import sys
import h5py, numpy as np
exec(open(sys.argv[2] + "/unet2d.py").read().split("def draw")[1].join(["def draw", ""]).split("torch.set")[0])
x = (1.5 * draw("x", 3 * 96)).astype("f4").reshape(3, 8, 4, 3)
t, label = np.array([1.0, 1000.0, 18.25]), np.array([2, 0, 1])

def write(name, x=x, t=t, label=label, first=None):
    with h5py.File(name, "w") as f:
        for key, value in dict(x=x, t=t, label=label).items():
            if value is not None:
                f[key] = value
        if first is not None:
            f["t"].attrs["first"] = first

write("x.h5")
write("zero.h5", t=t - 1, first=0)
write("four.h5", t=4 * (t - 1), first=0)
n = 41
many = np.random.default_rng(0)
write("many.h5", many.normal(size=(n, 8, 4, 3)).astype("f4"), many.integers(1, 1001, n), many.integers(0, 3, n).astype("i2"))
nan, inf = x.copy(), x.copy()
nan[2, 1, 0, 2], inf[0, 0, 0, 0] = np.nan, np.inf
write("nan.h5", nan)
write("inf.h5", inf)
write("double.h5", x.astype("f8"))
write("shape.h5", x[:, :, :, :2])
write("rank.h5", x.reshape(-1))
write("none.h5", x[:0], t[:0], label[:0])
write("no-x.h5", x=None)
write("no-t.h5", t=None)
write("no-label.h5", label=None)
write("short.h5", t=t[:2])
write("table.h5", t=np.ones((3, 1)))
write("late.h5", t=np.array([1, 2, 1000.5]))
write("early.h5", t=np.array([1, 0.5, 3]))
write("nan-t.h5", t=np.array([1, np.nan, 3]))
write("zero-late.h5", t=np.array([0, 1000, 3]), first=0)
write("first.h5", first=2)
write("real-label.h5", label=np.array([0.0, 1.0, 1.5]))
write("great-label.h5", label=np.array([0, 3, 1]))
write("less-label.h5", label=np.array([0, -1, 1]))
P
good "predict" ranks 1 predict g.h5 x.h5 y.h5 run.threads=1
good "predict, t counted from 0" ranks 1 predict g.h5 zero.h5 y0.h5 run.threads=1
good "predict, the index of 4000 steps scaled as Improved DDPM does" ranks 1 predict g.h5 four.h5 y4.h5 run.threads=1 process.timesteps=4000 \
  model.time_factor=0.25
good "predict many" ranks 1 predict g.h5 many.h5 m1.h5 run.threads=1 evaluate.grain=4
for how in "2 2" "3 1" "5 2"; do
  set -- $how
  good "predict on $1 ranks x $2 threads" ranks "$1" predict g.h5 many.h5 "m$1.h5" run.threads="$2" evaluate.grain=4
  cmp m1.h5 "m$1.h5" >said 2>&1
  judge $? "the same bytes"
done
good "what is predicted" "$py" - "$golden" <<'P'
import sys
import h5py, numpy as np
y, y0, ref = h5py.File("y.h5"), h5py.File("y0.h5"), np.fromfile(sys.argv[1] + "/prediction.bin", "<f4").reshape(3, 8, 4, 3)
p = y["prediction"][:]
assert np.sqrt(np.mean((p - ref) ** 2) / np.mean(ref**2)) < 1e-5
assert np.array_equal(p, y0["prediction"][:]) and np.array_equal(y["t"][:], y0["t"][:]) and list(y["t"]) == [1, 1000, 18.25]
assert np.array_equal(p, h5py.File("y4.h5")["prediction"][:])
assert y.attrs["content"] == "prediction" and y["t"].attrs["first"] == 1 and y.attrs["ema"] == 0 and "units" in y["prediction"].attrs
a, b = h5py.File("m1.h5")["prediction"], h5py.File("many.h5")
assert a.shape == (41, 8, 4, 3) and np.unique(a[:].reshape(41, -1), axis=0).shape[0] == 41
P
predict() {       # predict NAME STATUS RANKS WORDS IN [MORE]
  refused "predict: $1" "$2" "$3" "$4" predict g.h5 "$5" bad.h5 run.threads=1 evaluate.grain=1 ${6:-}
}
predict "NaN, seen by one rank of three" 5 3 "nan.h5: /x has NaN in row 2" nan.h5
predict "an infinity" 5 1 "inf.h5: /x has an infinity in row 0" inf.h5
predict "64-bit floats" 5 1 "double.h5: /x does not hold 32-bit floats" double.h5
predict "other channels" 5 2 "shape.h5: /x has rows of 8 x 4 x 2; the model takes 8 x 4 x 3" shape.h5
predict "one dimension" 5 1 "rank.h5: /x has 1 dimension; images are [N, H, W, C]" rank.h5
predict "no rows" 5 1 "none.h5: /x has no rows" none.h5
predict "no x" 5 1 "no-x.h5 has no /x" no-x.h5
predict "no t" 5 2 "no-t.h5 has no /t" no-t.h5
predict "no label" 5 1 "no-label.h5 has no /label, but the model has 3 classes" no-label.h5
predict "too few t" 5 1 "short.h5: /t has 2 rows, /x has 3" short.h5
predict "t as a table" 5 1 "table.h5: /t must be one number per row" table.h5
predict "t past T" 5 3 "late.h5: /t has 1000.5 in row 2; allowed: 1 to 1000" late.h5
predict "t before 1" 5 1 "early.h5: /t has 0.5 in row 1; allowed: 1 to 1000" early.h5
predict "t is NaN" 5 1 "nan-t.h5: /t has nan in row 1" nan-t.h5
predict "t past T - 1, counted from 0" 5 1 "zero-late.h5: /t has 1000 in row 1; allowed: 0 to 999" zero-late.h5
predict "t past a shorter process" 5 1 "x.h5: /t has 1000 in row 1; allowed: 1 to 500" x.h5 process.timesteps=500
predict "t counted from 2" 5 1 "first.h5: the attribute first of /t is 2; allowed: 1 (t = 1..T) or 0" first.h5
predict "labels that are not whole" 5 1 "real-label.h5: /label must be one whole number per row" real-label.h5
predict "a label past the classes" 5 2 "great-label.h5: /label has 3 in row 1; allowed: 0 to 2" great-label.h5
predict "a label below 0" 5 1 "less-label.h5: /label has -1 in row 1; allowed: 0 to 2" less-label.h5
predict "no file" 4 2 "cannot read nothing.h5: No such file" nothing.h5
predict "no HDF5 file" 5 1 "config.json is not an HDF5 file" out/config.json
predict "--ema without an average" 2 2 "--ema: g.h5 holds no averaged weights" x.h5 --ema
test ! -e bad.h5 && test ! -e bad.h5.part
judge $? "and none of these left a file"
refused "predict: over its input" 4 2 "x.h5 stands there and is another file: it is not overwritten" predict g.h5 x.h5 x.h5
refused "predict: two files too few" 2 1 "usage: diffx predict RUN|CHECKPOINT IN.h5 OUT.h5" predict g.h5 x.h5
refused "predict: the weights of sample" 2 1 "sample.weights=ema is of no use to predict" predict g.h5 x.h5 bad.h5 sample.weights=ema
refused "predict: the weights of evaluate" 2 1 "evaluate.weights=ema is of no use to predict: it takes the raw weights, or the average by --ema" predict g.h5 x.h5 bad.h5 evaluate.weights=ema
refused "predict: no checkpoint" 5 2 "no run folder and no good checkpoint" predict x.h5 x.h5 bad.h5
"$py" -c 'import h5py, numpy as np
with h5py.File("p.h5", "w") as f: f["x"], f["t"] = np.zeros((7, 2), "f4"), np.arange(1, 8)'
good "predict points by a perceptron" ranks 2 predict points p.h5 py.h5
good "in the shape of its input" "$py" -c 'import h5py
assert h5py.File("py.h5")["prediction"].shape == (7, 2)'

# --- against diffusers -----------------------------------------------------------------------------
"$py" -c 'import diffusers, safetensors, torch' 2>/dev/null || { done_testing; exit; }
good "export of averaged weights" "$diffx" model export run averaged --ema
cat >compare.py <<'P'
"""compare.py make CASE... | input DIR... | check DIR...: networks of diffusers in folders, DIR.h5 for diffx, and its prediction
DIR-y.h5, also beside the network that diffx wrote to DIR-e. All at once, for the imports take seconds."""
import sys
import h5py, numpy as np, torch
from diffusers import UNet2DModel

D, A, R, U, B, S = "DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"
CASES = {
    "digits": dict(sample_size=28, in_channels=1, out_channels=1, block_out_channels=(16, 16, 24), down_block_types=(D, A, D),
                   up_block_types=(U, B, U), norm_num_groups=8, attention_head_dim=8, num_class_embeds=10),
    "wide": dict(sample_size=(8, 24), in_channels=4, out_channels=4, block_out_channels=(12, 18), down_block_types=(A, R), layers_per_block=2,
                 up_block_types=(S, B), norm_num_groups=6, attention_head_dim=None, downsample_type="resnet", upsample_type="resnet",
                 resnet_time_scale_shift="scale_shift", flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6),
    "bare": dict(sample_size=7, in_channels=2, out_channels=5, block_out_channels=(8,), down_block_types=(D,), up_block_types=(U,),
                 norm_num_groups=4, mid_block_type=None, layers_per_block=3, dropout=0.25),
    "padded": dict(sample_size=16, block_out_channels=(8, 16, 8, 24), down_block_types=(D, D, A, A), up_block_types=(B, B, U, U), downsample_padding=0,
                   norm_num_groups=4, attention_head_dim=4, attn_norm_num_groups=12, add_attention=True, layers_per_block=1),
    "plain": dict(sample_size=8, block_out_channels=(16, 32), down_block_types=(R, R), up_block_types=(S, S), norm_num_groups=16, add_attention=False),
}


def make(folder):
    torch.manual_seed(1)
    net = UNet2DModel(**CASES[folder])
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    net.save_pretrained(folder)


def numbers(c):
    n, rng = 5, np.random.default_rng(3)
    h, w = c.sample_size if isinstance(c.sample_size, (list, tuple)) else (c.sample_size, c.sample_size)
    x, t = rng.normal(size=(n, h, w, c.in_channels)).astype("f4"), 1 + 40 * rng.random(n)
    return x, t, rng.integers(0, c.num_class_embeds, n) if c.num_class_embeds else None


def write_input(folder):
    x, t, label = numbers(UNet2DModel.from_pretrained(folder).config)
    with h5py.File(folder + ".h5", "w") as f:
        f["x"], f["t"] = x, t
        if label is not None:
            f["label"] = label


def check(folder):
    net = UNet2DModel.from_pretrained(folder)
    other = UNet2DModel.from_pretrained(folder + "-e") if folder in CASES else net
    x, t, label = numbers(net.config)
    differ = [k for k, a in net.config.items() if not k.startswith("_") and a != other.config[k]]
    assert set(differ) <= {"downsample_type", "upsample_type"}, differ  # which blocks without attention do not read
    a, b = net.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), "other weights"
    with torch.no_grad():
        y = other(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy((t - 1).astype("f4")),
                  class_labels=None if label is None else torch.from_numpy(label)).sample.permute(0, 2, 3, 1).numpy()
    p = h5py.File(folder + "-y.h5")["prediction"][:]
    off = np.sqrt(np.mean((p - y) ** 2) / np.mean(y**2))
    assert p.shape == y.shape and off < 1e-5, (p.shape, y.shape, off)
    print(folder, "relative", off)


torch.set_num_threads(1)
for folder in sys.argv[2:]:
    try:
        if sys.argv[1] == "make":
            make(folder)
        if sys.argv[1] == "check":
            check(folder)
        else:
            write_input(folder)
    except Exception as e:
        print(folder, "failed:", repr(e))
P
# processes that schedulers of diffusers wrote: an evaluation of what came in has the same alpha_bar
cat >betas.py <<'P'
"""betas.py write: schedulers into NAME/scheduler; betas.py check NAME: the process of NAME-e.h5 against that of NAME's"""
import h5py, numpy as np, sys
from diffusers import DDIMScheduler, DDPMScheduler
kinds = {"line": DDPMScheduler(num_train_timesteps=30, beta_start=0.001, beta_end=0.3, variance_type="fixed_large"),
         "square": DDIMScheduler(num_train_timesteps=30, beta_start=0.001, beta_end=0.3, beta_schedule="scaled_linear"),
         "cosines": DDPMScheduler(num_train_timesteps=30, beta_schedule="squaredcos_cap_v2", prediction_type="sample"),
         "rescaled": DDPMScheduler(num_train_timesteps=30, beta_end=0.3, prediction_type="v_prediction", rescale_betas_zero_snr=True),
         "trained": DDPMScheduler(num_train_timesteps=4, trained_betas=[0.1, 0.2, 0.4, 0.8])}
for name, scheduler in kinds.items():
    if sys.argv[1] == "write":
        scheduler.save_pretrained(name + "/scheduler")
    elif sys.argv[2] == name:
        ours, theirs = h5py.File(name + "-e.h5")["process/alpha_bar"][:], scheduler.alphas_cumprod.numpy()
        assert len(ours) == len(theirs)
        print("apart", f"{np.abs(ours - theirs).max():.0e}")
        assert np.abs(ours - theirs).max() < 1e-6
P
"$py" betas.py write >betas.said 2>&1
for kind in line square cosines rescaled trained; do
  cp out/config.json out/diffusion_pytorch_model.safetensors $kind && "$diffx" model import $kind $kind.h5 $same_data >said 2>&1 &&
    "$diffx" evaluate $kind.h5 -o $kind-e.h5 evaluate.examples=2 evaluate.timesteps=2 evaluate.grain=2 >>said 2>&1 && "$py" betas.py check $kind >>said 2>&1
  judge $? "$kind: the process of a scheduler of diffusers ($(sed -n 's/^apart //p' said))"
done
# pipelines: a step of the scheduler against the record's process, and a whole drawing against diffx's
cat >pipe.py <<'P'
"""pipe.py RUN FOLDER"""
import h5py, numpy as np, sys, torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
run, folder = sys.argv[1:3]
pipe = DDPMPipeline.from_pretrained(folder)
pipe.set_progress_bar_config(disable=True)
s, net, c = pipe.scheduler, pipe.unet, pipe.scheduler.config
a, b = net.state_dict(), UNet2DModel.from_pretrained(folder).state_dict()
assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
with h5py.File(run + "/metrics.h5") as f:
    abar, beta, post = (f["process/" + k][:] for k in ("alpha_bar", "beta", "posterior_variance"))
    fixed = f["process/variance"][:] if "variance" in f["process"] else None
T, prev = len(abar), np.append(1, abar[:-1])
assert c.num_train_timesteps == T and np.abs(s.alphas_cumprod.numpy() - abar).max() < 1e-5
g, worst = torch.Generator().manual_seed(5), 0
for t in 1, 7, T // 2, T - 1:
    x = torch.randn((2, net.config.in_channels, 8, 8), generator=g)
    with torch.no_grad():
        out = net(x, t).sample
    state = g.get_state()
    theirs = s.step(out, t, x, generator=g).prev_sample.numpy()
    g.set_state(state)
    z, o, x = torch.randn(x.shape, generator=g).double().numpy(), out.double().numpy(), x.double().numpy()
    o, v = o[:, :x.shape[1]], o[:, x.shape[1]:]
    A, B = np.sqrt(abar[t]), np.sqrt(1 - abar[t])
    x0 = np.clip({"epsilon": (x - B * o) / max(A, 1e-30), "sample": o, "v_prediction": A * x - B * o}[c.prediction_type], -1, 1)
    mean = np.sqrt(prev[t]) * beta[t] / (1 - abar[t]) * x0 + np.sqrt(1 - beta[t]) * (1 - prev[t]) / (1 - abar[t]) * x
    var = fixed[t] if fixed is not None else np.exp((v + 1) / 2 * np.log(beta[t]) + (1 - v) / 2 * np.log(post[t]))
    ours = mean + np.sqrt(var) * z
    worst = max(worst, np.sqrt(np.mean((theirs - ours) ** 2) / np.mean(ours**2)))
images = pipe(batch_size=2, num_inference_steps=T, output_type="np", generator=g).images
assert images.shape == (2, 8, 8, 3) and images.min() >= 0 and images.max() <= 1 and images.std() > 0.01
# DDIM, every step, from diffx's own noise
with h5py.File(run + "-drawn.h5") as f:
    start, end = ((f["trajectory"][i] / 127.5 - 1).transpose(0, 3, 1, 2) for i in (0, -1))
ddim, x = DDIMScheduler.from_config(c), torch.from_numpy(start.copy())
ddim.set_timesteps(T)
with torch.no_grad():
    for t in ddim.timesteps:
        x = ddim.step(net(x, t).sample[:, :3], t, x, eta=0, use_clipped_model_output=True).prev_sample
far = np.sqrt(np.mean((x.numpy() - end) ** 2) / np.mean(end**2))
print("relative", f"{worst:.0e} {far:.0e}")
assert worst < 1e-4 and far < 1e-3 and np.abs(start - end).max() > 0.5
P
fixed="objective.predict=x0 objective.variance=fixed-large process.schedule=linear"
ranged="objective.loss=hybrid objective.predict=v objective.variance=learned-range process.schedule=sigmoid process.zero_terminal=true"
for kind in out fixed ranged; do
  case $kind in out) keys= pipe_run=run ;; fixed) keys=$fixed pipe_run=fixed ;; ranged) keys=$ranged pipe_run=ranged ;; esac
  test $kind = out || "$diffx" "$exp/smoke-unet.yaml" output=$kind run.threads=2 train.steps=20 evaluate.every=never sample.every=never $keys >said 2>&1
  test $kind = out || "$diffx" model export $kind $kind-out >>said 2>&1
  "$diffx" sample $pipe_run -o $pipe_run-drawn.h5 sample.count=3 sample.sampler=ddim sample.steps=50 sample.trajectory=2 sample.weights=raw >>said 2>&1 &&
    "$py" pipe.py $pipe_run $(test $kind = out && echo out || echo $kind-out) >>said 2>&1
  judge $? "$kind: DDPMPipeline draws as diffx does ($(sed -n 's/^relative //p' said))"
done
cases="digits wide bare padded plain"
"$py" compare.py input out averaged >made 2>&1
"$py" compare.py make $cases >>made 2>&1
for kind in out averaged; do
  ranks 2 predict run $kind.h5 $kind-y.h5 $(test $kind = averaged && echo --ema) >$kind.said 2>&1
done
for case in $cases; do
  "$diffx" model import $case $case-i.h5 >$case.said 2>&1 && "$diffx" model export $case-i.h5 $case-e >>$case.said 2>&1 &&
    ranks 2 predict $case-i.h5 $case.h5 $case-y.h5 >>$case.said 2>&1
done
"$py" compare.py check out averaged $cases >checked 2>&1
for case in out averaged $cases; do
  cat made $case.said checked >said
  grep -q "^$case relative" checked
  judge $? "$case: the same in diffusers and here ($(sed -n "s/^$case relative //p" checked))"
done
cmp out-y.h5 averaged-y.h5 >/dev/null 2>&1
test $? = 1
judge $? "and the average is another network"
done_testing
