#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Formats that people have become dataset files, row for row; damage is named and leaves nothing.
. "${srcdir:-.}/tests/lib.sh"
python=${PYTHON:-python3}
real=$top/../shared/data

words() {         # words FILE WORDS...
  file=$1
  shift
  for w; do grep -qF -e "$w" "$file" || { echo "# not said: $w"; return 1; }; done
}
imported() {      # imported NAME ARGS...: by diffx data import
  name=$1
  shift
  "$diffx" data import "$@" >said 2>&1
  bad=$?
  ok $bad "$name"
  test $bad = 0 || show said
}
refused() {       # refused NAME STATUS WORDS... -- ARGS...: no file OUT remains
  name=$1 status=$2 bad=0
  shift 2
  : >wanted
  while test "$1" != --; do echo "$1" >>wanted; shift; done
  shift
  "$diffx" data import "$@" >said 2>&1
  test $? = "$status" || bad=1
  while read -r w; do words said "$w" || bad=1; done <wanted
  for f in out.h5*; do if test -e "$f"; then echo "# left: $f"; bad=1; fi; done
  ok $bad "refused: $name"
  test $bad = 0 || show said
}
holds() {         # holds NAME: the Python on stdin finds what it asserts
  "$python" - >py.log 2>&1
  bad=$?
  ok $bad "$1"
  test $bad = 0 || show py.log
}
lacks() { grep -q "built without $1" said; }

# command line
refused "no format" 2 "usage: diffx data import" -- cifar10
refused "an unknown format" 2 "cifar is no format that can be imported" "cifar10, idx, images, npy" -- cifar x out.h5
refused "an unknown option" 3 "sizes" "did you mean size" -- images . out.h5 sizes=3
refused "no source" 4 "cannot read nowhere: No such file or directory" -- npy nowhere out.h5
refused "no folder to write to" 4 "cannot write no/out.h5" -- npy nowhere no/out.h5
cat >missing.yaml <<'EOF'
data: {kind: file, file: missing.h5}
EOF
ranks 1 missing.yaml --dry-run >said 2>&1
test $? = 4 && words said "./diffx data import FORMAT SOURCE missing.h5" "cifar10, idx, images or npy"
ok $? "a missing data file: the error says how to make it"
for name in cifar cifar-small; do
  ranks 1 "$exp/$name.yaml" --dry-run >said 2>&1
  test $? = 4 && words said "./diffx data import cifar10 data/cifar-10-binary.tar.gz data/cifar10.h5"
  ok $? "$name.yaml: the very command"
done
ranks 1 "$exp/fashion-mnist.yaml" --dry-run >said 2>&1
test $? = 4 && words said "./diffx data import idx data/fashion-mnist data/fashion-mnist.h5"
ok $? "fashion-mnist.yaml: the very command"

# CIFAR-10: the layout with counted numbers
batch() { head -c 30730000 /dev/zero; }
mkdir cifar
batch | gzip -1 >cifar/zeros
for k in 1 2 3 4; do cp cifar/zeros cifar/data_batch_$k.bin.gz; done
{ head -c 3073 /dev/zero; printf '\007\011'; head -c 1023 /dev/zero; printf '\012'; head -c 1023 /dev/zero; printf '\013'
  head -c 30724877 /dev/zero; } >cifar/data_batch_5.bin
mv cifar/zeros cifar/test_batch.bin.gz
if "$diffx" data import cifar10 cifar c.h5 >said 2>&1; then
  ok 0 "CIFAR-10 from a folder"
  "$diffx" data show c.h5 >said 2>&1
  words said "image, 32 x 32 x 3 uint8" "50000 rows" "49999 0 0 0 0 0 0 1 0 0" "airplane automobile bird" "cifar10 cifar c.h5"
  ok $? "its counts, labels and names"
  (cd cifar && gunzip -k ./*.gz && tar -cf ../cifar.tar test_batch.bin data_batch_[53412].bin && rm test_batch.bin data_batch_[1234].bin)
  gzip -1 cifar.tar
  imported "CIFAR-10 from a .tar.gz, in another order" cifar10 cifar.tar.gz t.h5
  "$diffx" data show c.h5 | grep '^hash' >a
  "$diffx" data show t.h5 | grep '^hash' >b
  cmp a b
  ok $? "the same data"
  head -c 100000 cifar.tar.gz >cut.tar.gz
  refused "a .tar.gz cut short" 5 "cut.tar.gz is damaged at byte 100000 of 100000 (gzip: it ends in the middle)" -- cifar10 cut.tar.gz out.h5
  mv cifar/data_batch_5.bin whole
  refused "a batch that is not there" 4 "cifar has no data_batch_5.bin" -- cifar10 cifar out.h5
  head -c 30729999 whole >cifar/data_batch_5.bin
  refused "a batch cut short" 5 "cifar/data_batch_5.bin ends at byte 30729999" -- cifar10 cifar out.h5
  { cat whole; echo; } >cifar/data_batch_5.bin
  refused "a batch too long" 5 "cifar/data_batch_5.bin goes on after byte 30730000" -- cifar10 cifar out.h5
  { head -c 6146 whole; printf '\052'; tail -c 30723853 whole; } >cifar/data_batch_5.bin
  refused "a label that cannot be" 5 "record 2 of data_batch_5.bin has label 42 at byte 6146" -- cifar10 cifar out.h5
  { head -c -8 cifar/data_batch_1.bin.gz; printf 'xxxxxxxx'; } >bad
  mv bad cifar/data_batch_1.bin.gz
  refused "a damaged gzip stream" 5 "cifar/data_batch_1.bin.gz is damaged at byte" "(gzip:" -- cifar10 cifar out.h5
else
  lacks zlib
  ok $? "CIFAR-10 packed by gzip # SKIP built without zlib"
fi
rm -rf cifar whole cifar.tar.gz cut.tar.gz c.h5 t.h5

# what needs numpy and pictures to make and to look at
if "$python" -c 'import h5py, numpy' 2>/dev/null; then
  "$python" - <<'EOF'
import gzip, lzma, numpy as np, os, struct
r = np.random.default_rng(1)
os.mkdir("mnist")
for name, n in (("train", 2300), ("t10k", 70)):
    x, y = r.integers(0, 256, (n, 5, 4), "u1"), r.integers(0, 7, n).astype("u1")
    np.save(name + "_x", x); np.save(name + "_y", y)
    with lzma.open(f"mnist/{name}-images-idx3-ubyte.xz", "wb") as f: f.write(struct.pack(">4i", 2051, n, 5, 4) + x.tobytes())
    with gzip.open(f"mnist/{name}-labels-idx1-ubyte.gz", "wb") as f: f.write(struct.pack(">2i", 2049, n) + y.tobytes())
x = r.normal(3, 2, (3001, 3)); np.save("points", x); np.save("labels", np.arange(3001) % 4)
np.save("f32", x.astype("f4").reshape(3001, 3, 1)); np.save("u1", r.integers(0, 256, (50, 4, 6, 2), "u1"))
np.save("fortran", np.asfortranarray(x)); np.save("i4", np.zeros((5, 2), "i4")); np.save("short", np.zeros(7, "i8"))
x[1234, 1] = np.nan; np.save("nan", x)
open("cut.npy", "wb").write(open("points.npy", "rb").read()[:5000])
EOF
  if "$diffx" data import idx mnist i.h5 >said 2>&1; then
    ok 0 "IDX from a folder"
    holds "its images and labels" <<'EOF'
import h5py, numpy as np, hashlib
f = h5py.File("i.h5")
for split, name in (("train", "train"), ("test", "t10k")):
    assert (f[split]["x"][..., 0] == np.load(name + "_x.npy")).all() and (f[split]["label"][:] == np.load(name + "_y.npy")).all()
assert f.attrs["classes"] == 7 and f["train/x"].dtype == "u1" and f["train/x"].shape == (2300, 5, 4, 1)
for name in ("train-images-idx3-ubyte.xz", "t10k-labels-idx1-ubyte.gz"):
    assert hashlib.sha256(open("mnist/" + name, "rb").read()).hexdigest() + "  " + name in str(f.attrs["source_sha256"])
EOF
    imported "IDX, one file" idx mnist/t10k-images-idx3-ubyte.xz i.h5 test=20 --force
    "$diffx" data show i.h5 >said 2>&1 && words said "train          50 rows" "test           20 rows" "classes  7"
    ok $? "its last rows are the test split"
    head -c 4000 mnist/train-images-idx3-ubyte.xz >cut.xz && mv cut.xz mnist/train-images-idx3-ubyte.xz
    refused "an xz stream cut short" 5 "train-images-idx3-ubyte.xz is damaged at byte 4000 of 4000 (xz:" -- idx mnist out.h5
    cp mnist/t10k-labels-idx1-ubyte.gz mnist/train-labels-idx1-ubyte.gz
    refused "labels of another set" 5 "has 70 labels" "has 2300 images" -- idx mnist out.h5
    cp mnist/t10k-labels-idx1-ubyte.gz mnist/train-images-idx3-ubyte.xz
    refused "labels for images" 5 "begins with 00 00 08 01" -- idx mnist out.h5
  else
    lacks liblzma || lacks zlib
    ok $? "IDX # SKIP built without liblzma or zlib"
  fi

  imported "npy: points" npy points.npy p.h5 labels=labels.npy test=1000
  holds "its rows, labels and units" <<'EOF'
import h5py, numpy as np
f, x = h5py.File("p.h5"), np.load("points.npy").astype("f4")
assert (f["train/x"][:] == x[:2001]).all() and (f["test/x"][:] == x[2001:]).all() and f["test/label"][0] == 2001 % 4
assert abs(f.attrs["shift"] - x[:2001].mean()) < 1e-5 and abs(f.attrs["scale"] - x[:2001].std()) < 1e-5
EOF
  refused "over a data set" 4 "p.h5 is a data set that stands there: it is overwritten with --force alone" -- npy f32.npy p.h5
  imported "npy: sequences" npy --force f32.npy p.h5
  "$diffx" data show p.h5 | grep -q 'sequence, 1 x 3 x 1 float32'
  ok $? "their shape"
  imported "npy: images" npy u1.npy p.h5 --force
  "$diffx" data show p.h5 | grep -q 'image, 4 x 6 x 2 uint8'
  ok $? "their shape"
  refused "npy in Fortran's order" 5 "fortran.npy is in Fortran's order" -- npy fortran.npy out.h5
  refused "npy of integers" 5 "i4.npy holds whole numbers of 4 bytes" -- npy i4.npy out.h5
  refused "npy cut short" 5 "cut.npy ends at byte 5000" -- npy cut.npy out.h5
  refused "npy with a NaN" 5 "/train/x has NaN in row 1234" -- npy nan.npy out.h5
  refused "too few labels" 5 "short.npy must hold 3001 whole numbers" -- npy points.npy out.h5 labels=short.npy
  refused "all for the test split" 5 "nothing is left for the train split" -- npy points.npy out.h5 test=3001
  echo "no array at all" >text.npy
  refused "no npy" 5 "text.npy is no .npy file" -- npy text.npy out.h5
else
  ok 0 "IDX and npy # SKIP no h5py and numpy here"
fi

if "$python" -c 'import h5py, numpy, PIL' 2>/dev/null; then
  "$python" - <<'EOF'
import numpy as np, os
from PIL import Image
r = np.random.default_rng(2)
for c in ("cat", "dog"): os.makedirs("pets/" + c)
a = r.integers(0, 256, (12, 8, 3), "u1"); Image.fromarray(a).save("pets/cat/a.png"); np.save("a", a)
b = np.repeat(np.repeat(r.integers(0, 256, (4, 4, 3), "u1"), 8, 0), 8, 1)
Image.fromarray(b).save("pets/dog/b.JPG", quality=100, subsampling=0); np.save("b", b)
Image.fromarray(np.dstack([a, np.zeros((12, 8), "u1")])).save("pets/dog/c.png")
Image.fromarray(a[..., 0]).save("pets/dog/d.png")
open("pets/dog/notes.txt", "w").write("no image")
EOF
  if "$diffx" data import images pets o.h5 --size 4 >said 2>&1; then
    ok 0 "images: a folder of PNG and JPEG"
    words said "1 other files and folders are passed over"
    ok $? "what is no image is told"
    holds "cropped, averaged, transparent parts white, gray ones too" <<'EOF'
import h5py, numpy as np
f, a, b = h5py.File("o.h5"), np.load("a.npy").astype(float), np.load("b.npy").astype(float)
def small(x, k): return x.reshape(4, k, 4, k, -1).mean((1, 3))
x = f["train/x"][:].astype(float)
assert x.shape == (4, 4, 4, 3) and list(f["train/label"]) == [0, 1, 1, 1] and f.attrs["classes"] == 2
assert abs(x[0] - small(a[2:10], 2)).max() <= 0.51
assert abs(x[1] - small(b, 8)).max() <= 3, abs(x[1] - small(b, 8)).max()
assert (x[2] == 255).all() and abs(x[3] - small(a[2:10, :, :1], 2)).max() <= 0.51
assert str(f.attrs["class_names"]).find("cat\ndog") >= 0 and "cat/a.png" in str(f.attrs["source_sha256"])
EOF
    imported "images: another size, gray, with a test split" images pets o.h5 size=3 channels=1 test=1 --force
    "$diffx" data show o.h5 >said && words said "image, 3 x 3 x 1 uint8" "train           3 rows" "test            1 rows"
    ok $? "its splits"
    cp pets/cat/a.png whole.png
    head -c 200 whole.png >pets/cat/a.png
    refused "a PNG cut short" 5 "pets/cat/a.png is damaged at byte 200 of 200 (PNG: it ends in the middle)" -- images pets out.h5
    { head -c 100 whole.png; printf 'xxxx'; tail -c +105 whole.png; } >pets/cat/a.png
    refused "a damaged PNG" 5 "pets/cat/a.png is damaged at byte" "(PNG:" -- images pets out.h5
    cp whole.png pets/cat/a.png
    head -c 500 pets/dog/b.JPG >cut && mv cut pets/dog/b.JPG
    refused "a JPEG cut short" 5 "pets/dog/b.JPG is damaged at byte" "of 500 (JPEG:" -- images pets out.h5
    echo text >pets/dog/b.JPG
    refused "neither PNG nor JPEG" 5 "pets/dog/b.JPG is damaged at byte 0 of 5: it is neither PNG nor JPEG" -- images pets out.h5
    cp whole.png pets/loose.png
    refused "images beside classes" 5 "pets has 1 images beside its folders of classes" -- images pets out.h5
  else
    lacks libpng || lacks libjpeg
    ok $? "images # SKIP built without libpng or libjpeg"
  fi
else
  ok 0 "images # SKIP no h5py, numpy and PIL here"
fi

# the real thing
if test -d "$real/cifar-10" && test -d "$real/fashion-mnist"; then
  if "$diffx" data import cifar10 "$real/cifar-10" c.h5 --force >said 2>&1; then
    "$diffx" data show c.h5 >said && words said "f477a530165c5237" "5000 5000 5000 5000 5000 5000 5000 5000 5000 5000"
    ok $? "CIFAR-10 itself"
    rm c.h5
    "$diffx" data import idx "$real/fashion-mnist" f.h5 >said 2>&1 && "$diffx" data show f.h5 >said &&
      words said "6000 6000 6000 6000 6000 6000 6000 6000 6000 6000" "10000 rows" "28 x 28 x 1 uint8"
    ok $? "Fashion-MNIST itself"
  else
    lacks liblzma
    ok $? "CIFAR-10 and Fashion-MNIST # SKIP built without liblzma"
  fi
else
  ok 0 "CIFAR-10 and Fashion-MNIST # SKIP not in ../shared/data beside the source tree"
fi
done_testing
