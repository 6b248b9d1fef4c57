#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# diffx export-samples: what numpy.load, a streaming reader of npz and readers of PNG find is what the samples are.
. "${srcdir:-.}/tests/lib.sh"
py=${PYTHON:-python3}
"$py" -c 'import h5py, numpy' 2>/dev/null || skip "$py has no h5py or numpy (PYTHON names another)"
if "$diffx" export-samples . x.npz 2>&1 | grep -q 'built without zlib'; then skip "built without zlib"; fi

refused() {       # refused NAME STATUS WORDS ARGS...
  name=$1 want=$2 words=$3
  shift 3
  "$diffx" export-samples "$@" >said 2>&1
  test $? = "$want" && grep -qF -e "$words" said
  judge $? "$name"
}
python() {        # python NAME: the program on stdin must end well
  "$py" - >said 2>&1
  judge $? "$1"
}

# --- runs of all kinds of data, and the samples of each ------------------------------------------------
python "data" <<'P'
import numpy as np
r = np.random.default_rng(1)
np.save("gray.npy", r.integers(0, 256, (40, 8, 8, 1)).astype("u1"))
np.save("label.npy", np.arange(40) % 3)
np.save("float.npy", r.normal(3, 2, (40, 8, 8, 3)).astype("f4"))
np.save("two.npy", r.normal(0, 1, (40, 8, 8, 2)).astype("f4"))
np.save("tall.npy", r.integers(0, 256, (40, 12, 8, 3)).astype("u1"))
np.save("sequence.npy", r.normal(0, 1, (40, 6, 2)).astype("f4"))
P
for kind in gray float two tall sequence; do
  good "$kind as a file" "$diffx" data import npy $kind.npy $kind.h5 test=10 $(test $kind = gray && echo labels=label.npy)
done
for e in smoke smoke-unet; do sed '/^data:/s/{.*}/{kind: file, file: x}/' "$exp/$e.yaml" >"$e.yaml"; done
short="run.threads=1 train.steps=2 evaluate.every=never"
good "colours" "$diffx" "$exp/smoke-unet.yaml" output=rgb $short sample.count=300 sample.steps=2
good "gray with classes" "$diffx" smoke-unet.yaml output=gray $short data.file=gray.h5 model.classes=3
good "gray without" "$diffx" smoke-unet.yaml output=alike $short data.file=gray.h5
good "real numbers" "$diffx" smoke-unet.yaml output=float $short data.file=float.h5
good "two channels" "$diffx" smoke-unet.yaml output=two $short data.file=two.h5
good "sequences" "$diffx" smoke.yaml output=sequence $short data.file=sequence.h5
good "taller than wide" "$diffx" smoke-unet.yaml output=tall $short data.file=tall.h5 model.attention=6 sample.count=2
good "points" "$diffx" "$exp/smoke.yaml" output=points $short

python "samples of untrained networks are mostly black and white: others in their place" <<'P'
import h5py, numpy as np
r = np.random.default_rng(2)
for run, mean, std in ("gray", 127, 90), ("float", 3, 4):
    with h5py.File(run + "/samples/step-00000002.h5", "r+") as f:
        f["x"][...] = r.normal(mean, std, f["x"].shape)
P

# --- npz -----------------------------------------------------------------------------------------------
for run in rgb gray alike float two sequence points; do
  good "$run to npz" "$diffx" export-samples $run $run.npz
  cp said said-$run
done
cat >expected.py <<'P'
"""expected(run): its samples as bytes, by the range that the file tells, or as they are."""
import glob, h5py, numpy as np
def expected(run):
    f = h5py.File(glob.glob(run + "/samples/step-*.h5")[0])
    x, a = f["x"][:], f.attrs
    if a["modality"] != "image" or x.shape[3] == 2:
        return x
    lo, hi = (a["range_lo"], a["range_hi"]) if "range_lo" in a else (a["shift"] - 2.5 * a["scale"], a["shift"] + 2.5 * a["scale"])
    return np.floor(np.clip(255 * (x.astype(float) - lo) / (hi - lo), 0, 255) + 0.5).astype("u1")
P
python "images as uint8 with three channels, the rest as float32" <<'P'
import h5py, numpy as np
from expected import expected
for run, shape in ("rgb", (300, 8, 8, 3)), ("gray", (5, 8, 8, 1)), ("alike", (5, 8, 8, 1)), ("float", (5, 8, 8, 3)):
    z, want = np.load(run + ".npz"), expected(run)
    assert want.shape == shape and want.dtype == "u1", (run, want.shape)
    assert z["arr_0"].shape == shape[:3] + (3,) and z["arr_0"].dtype == "u1" and z["arr_0"].flags.c_contiguous
    assert (z["arr_0"] == np.broadcast_to(want, z["arr_0"].shape)).all(), run
    assert len(np.unique(want)) > 30 or run == "alike", (run, np.unique(want))
for run, shape in ("two", (5, 8, 8, 2)), ("sequence", (50, 6, 2)), ("points", (50, 2)):
    z, want = np.load(run + ".npz"), expected(run)
    assert z.files == ["arr_0"] and z["arr_0"].shape == shape and z["arr_0"].dtype == "f4", (run, z["arr_0"].shape)
    assert z["arr_0"].tobytes() == want.tobytes(), run
P
python "classes where the network was told them" <<'P'
import h5py, numpy as np
z = np.load("gray.npz")
assert z.files == ["arr_0", "arr_1"] and z["arr_1"].dtype == "i8" and list(z["arr_1"]) == [0, 1, 2, 0, 1]
assert np.load("alike.npz").files == ["arr_0"] and "label" not in h5py.File("alike/samples/step-00000002.h5")
assert list(h5py.File("gray/samples/step-00000002.h5")["label"][:]) == [0, 1, 2, 0, 1]
P
python "guided-diffusion's reader: the npy inside as a stream" <<'P'
import numpy as np, zipfile
from expected import expected
for run in "rgb", "gray", "points":
    with zipfile.ZipFile(run + ".npz") as z:
        assert z.testzip() is None and z.namelist()[0] == "arr_0.npy"
        with z.open("arr_0.npy") as f:
            assert np.lib.format.read_magic(f) == (1, 0)
            shape, fortran, kind = np.lib.format.read_array_header_1_0(f)
            data = f.read()
    assert not fortran and len(data) == np.prod(shape) * kind.itemsize and shape == np.load(run + ".npz")["arr_0"].shape
P
if unzip -v >/dev/null 2>&1; then good "and unzip finds no fault" unzip -tq gray.npz; fi
grep -q "gray.npz: 5 samples of gray/samples/step-00000002.h5, uint8, gray as three equal channels, with their classes" said-gray &&
  grep -q "the data declare no range; black is " said-float && grep -q "points.npz: 50 samples of points/samples/step-00000002.h5, float32 in data units" said-points
ok $? "it says what it made of them"
good "a second time" "$diffx" export-samples rgb/samples/step-00000002.h5 again.npz
cmp rgb.npz again.npz >said 2>&1
judge $? "from the file itself: the same bytes"

# --- the newest ----------------------------------------------------------------------------------------
sleep 0.05
good "more samples" "$diffx" sample rgb sample.count=3 sample.steps=2
"$diffx" export-samples rgb new.npz >said 2>&1 && grep -q "new.npz: 3 samples of rgb/samples/drawn-00000002.h5" said
judge $? "those that were drawn last are taken"

# --- PNG -----------------------------------------------------------------------------------------------
if "$diffx" export-samples rgb/samples/step-00000002.h5 rgb-png/ >said 2>&1; then
  judge 0 "colours to PNG"
  good "gray to PNG" "$diffx" export-samples gray gray-png/
  mkdir empty
  good "into an empty folder" "$diffx" export-samples float empty
  mkdir float-png.part && echo old >float-png.part/000000.png && echo old >float-png.part/000001.png
  good "where one was broken off" "$diffx" export-samples float float-png/
  diff -r empty float-png >said 2>&1
  judge $? "nothing is left of that"
  test "$(ls rgb-png | wc -l)" = 300 && test -e rgb-png/000000.png && test -e rgb-png/000299.png && test "$(ls -a gray-png | wc -l)" = 7 &&
    test ! -e rgb-png.part && test ! -e float-png.part
  ok $? "numbered from 000000 on, and nothing else"
  for run in rgb gray; do "$diffx" data import images $run-png $run-back.h5 size=8 channels=$(test $run = gray && echo 1 || echo 3) >said 2>&1 || show said; done
  python "diffx reads the same pixels" <<'P'
import h5py
from expected import expected
for run in "rgb", "gray":
    assert (h5py.File(run + "-back.h5")["train/x"][:] == expected(run)).all(), run
P
  if "$py" -c 'import PIL' 2>/dev/null; then
    python "and so does Pillow" <<'P'
import glob, numpy as np
from PIL import Image
from expected import expected
for run, mode in ("rgb", "RGB"), ("gray", "L"), ("float", "RGB"):
    want = expected(run)
    names = sorted(glob.glob(run + "-png/*.png"))
    assert len(names) == len(want)
    for name, x in zip(names, want):
        p = Image.open(name)
        assert p.mode == mode and (np.asarray(p).reshape(x.shape) == x).all(), name
P
  fi
  if "$py" -c 'import PIL' 2>/dev/null; then
    python "a grid shows small images enlarged, pixel by pixel" <<'P'
import numpy as np
from PIL import Image
from expected import expected
for run, n, columns, mode in ("rgb", 256, 16, "RGB"), ("alike", 5, 3, "L"), ("tall", 2, 2, "RGB"):
    x = expected(run)[:n]
    h, w, c = x.shape[1:]
    k = -(-64 // max(h, w))
    rows = -(-n // columns)
    want = np.full((2 + rows * (k * h + 2), 2 + columns * (k * w + 2), c), 255, "u1")
    for i, one in enumerate(x):
        top, left = 2 + i // columns * (k * h + 2), 2 + i % columns * (k * w + 2)
        want[top:top + k * h, left:left + k * w] = one.repeat(k, 0).repeat(k, 1)
    p = Image.open(run + "/samples/step-00000002.png")
    assert p.mode == mode and k == (8 if run != "tall" else 6), (run, p.mode, k)
    assert (np.asarray(p).reshape(want.shape) == want).all(), run
P
  fi
  refused "PNG of points" 5 "points/samples/step-00000002.h5 holds samples of modality points, 1 x 1 x 2; PNG takes images of 1 or 3 channels, NAME.npz takes all" points points-png/
  refused "PNG of two channels" 5 "modality image, 8 x 8 x 2" two two-png/
  refused "over a folder with files" 4 "the folder rgb-png/ stands there and is not empty" float rgb-png/
  refused "over a folder with files, by force" 2 "a folder of pictures must be new or empty" float rgb-png/ --force
  refused "a file in the place of a folder" 4 "stands there and is a file" float rgb.npz/
  test ! -e points-png -a ! -e points-png.part -a ! -e rgb-png.part -a ! -e rgb.npz.part
  ok $? "and none of these left anything"
else
  grep -q "built without libpng" said
  judge $? "PNG is refused without libpng"
fi

# --- what is refused -----------------------------------------------------------------------------------
cksum points.npz >before
refused "over a file" 4 "points.npz stands there: it is overwritten with --force alone" rgb points.npz
cksum points.npz | cmp -s before -
ok $? "which stays"
good "by force" "$diffx" export-samples rgb/samples/step-00000002.h5 points.npz --force
cmp rgb.npz points.npz >said 2>&1
judge $? "it is another"
mkdir folder.npz
refused "a folder of that name" 4 "cannot write folder.npz: it is no plain file" rgb folder.npz --force
refused "into no folder" 4 "cannot write no/where.npz: its folder no: No such file or directory" rgb no/where.npz
refused "neither npz nor folder" 2 "samples.zip is neither a file NAME.npz nor, with a slash at its end, a FOLDER/ for PNG files" rgb samples.zip
refused "no such run" 4 "nothing: no such run folder or file of samples" nothing x.npz
"$diffx" "$exp/smoke.yaml" output=none $short sample.every=never >said 2>&1
refused "no samples yet" 4 "none: no samples yet in none/samples; diffx sample none draws some" none x.npz
refused "a checkpoint" 5 "none/checkpoints/step-00000002.h5 is a checkpoint file of diffx, not a samples file" none/checkpoints/step-00000002.h5 x.npz
refused "no HDF5 file" 5 "expected.py is not an HDF5 file" expected.py x.npz
refused "one argument" 2 "usage: diffx export-samples RUN|SAMPLES.h5 OUT.npz|FOLDER/" rgb
"$py" - <<'P'
import h5py, shutil
for name, change in ("old", lambda f: f.attrs.__delitem__("scale")), ("flat", lambda f: f.move("x", "y") or f.create_dataset("x", data=f["y"][:, 0])), \
                    ("label", lambda f: f.create_dataset("label", data=[1, 2])):
    shutil.copy("alike/samples/step-00000002.h5", name + ".h5")
    with h5py.File(name + ".h5", "r+") as f:
        change(f)
P
refused "samples of an older diffx" 5 "old.h5 was written by an older diffx and does not tell the range of its values" old.h5 x.npz
refused "samples of another rank" 5 "flat.h5: /x is no set of samples; allowed: float32 [N, H, W, C]" flat.h5 x.npz
refused "too few labels" 5 "label.h5: /label must be one number for each of the 5 samples" label.h5 x.npz
test ! -e x.npz
ok $? "and no file is left"
done_testing
