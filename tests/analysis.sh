#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The scripts of analysis/ on made-up runs: numbers against formulas, pictures, the page, wrong input.
python=${PYTHON:-python3}
top=${srcdir:-.}
if ! "$python" -c 'import h5py, numpy, matplotlib' 2>/dev/null; then
  echo "1..0 # SKIP $python has no h5py, numpy or matplotlib (PYTHON names another)"
  exit 0
fi
dir=$(mktemp -d) || exit 99
trap 'exec 3>&-; wait; rm -rf "$dir"' EXIT
PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=Agg
MPLCONFIGDIR=$dir/matplotlib     # HOME may not be writable
PYTHONPATH=$dir                  # oracle.py
export PYTHONDONTWRITEBYTECODE MPLBACKEND MPLCONFIGDIR PYTHONPATH dir
"$python" -c 'import matplotlib.pyplot' 2>/dev/null   # builds its list of fonts, which it talks about

# One Python that has loaded what takes long runs each script in a child of its own: half of the time of this test.
cat >"$dir/server.py" <<'END'
import os, runpy, sys
import h5py, matplotlib.pyplot, numpy
where = sys.argv[1]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        for fd, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{where}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
        sys.argv = line.split()
        sys.path.insert(0, os.path.dirname(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit(0)
    status = os.waitpid(child, 0)[1]
    print(status >> 8 or status, flush=True)       # what it returned, or the signal that ended it
END
mkfifo "$dir/ask" "$dir/answer"
"$python" "$dir/server.py" "$dir" <"$dir/ask" >"$dir/answer" &
exec 3>"$dir/ask" 4<"$dir/answer"

n=0
say() {                          # say NAME STATUS: 0 is good; what $dir/err holds is shown else
  n=$((n + 1))
  if test "$2" -eq 0; then echo "ok $n - $1"; else
    echo "not ok $n - $1"; sed 's/^/# /' "$dir/err"; fi
}
run() { echo "$*" >&3; read -r status <&4; return "${status:-99}"; }          # each word is an argument
draw() { run "$top/analysis/$1" "$2"; }
drawn() { draw "$2" "$3" && test ! -s "$dir/err"; say "$1" $?; }              # succeeds in silence
holds() {                        # a Python program on stdin
  "$python" -c 'import sys; sys.path.append(sys.argv[1]); exec(sys.stdin.read())' "$top/analysis" >"$dir/err" 2>&1; say "$1" $?
}
refused() {                      # refused NAME STATUS WORDS SCRIPT ARGUMENTS: one line on stderr with these words
  draw "$4" "$5"; test $? -eq "$2" && test "$(wc -l <"$dir/err")" -eq 1 && grep -qF -- "$3" "$dir/err"
  say "refused: $1" $?
}
make_run() { run "$top/tests/make_record.py" "$dir/$1" "$2" || { say "make_record $1" 1; exit 1; }; }

make_run good "--noiseless --name good"
make_run other "--seed 2 --worse 0.4 --name other --rate 5e-4 --classes 4"
make_run subset "--subset 50 --examples 40 --name subset"
make_run early "--evaluations 0 --no-samples --nan --name early"
make_run newer "--format 2"
make_run short "--timesteps 2"
make_run image "--modality image --dimension 12"
make_run paired "--each vb --evaluations 1 --examples 300 --classes 4 --name paired"
make_run worse "--each stacked --evaluations 1 --examples 300 --seed 2 --worse 0.05 --first-row 100 --name worse"
make_run totals "--each total --evaluations 1 --examples 300 --seed 3 --name totals"
make_run foreign "--each vb --evaluations 1 --examples 9 --hash 0123456789abcdef --name foreign"
make_run apart "--each total --evaluations 1 --examples 9 --first-row 1000 --name apart"
make_run respaced "--noiseless --respace 50 --name respaced"
g=$dir/good o=$dir/other

for s in bits by_class curves difference gradient_variance kl points profile rate_distortion record report schedule tensorboard; do
  draw $s.py --help && grep -q '^usage:' "$dir/out"; say "$s.py --help" $?
done

drawn "kl: one run, three files" kl.py "$g -o $dir/kl.png -o $dir/one.pdf -o $dir/one.svg --dpi 100 --csv $dir/kl.csv"
drawn "kl: closed form beside it" kl.py "$g --gaussian 1 -o $dir/exact.svg"
cp "$dir/out" "$dir/kl.txt"
drawn "kl: three runs, nats" kl.py "$g $o $dir/subset --units nats --band 1.96 -o $dir/kl.pdf"
grep -q 'KL terms were not evaluated' "$dir/out"; say "kl: terms not evaluated are said" $?
drawn "kl: an earlier evaluation" kl.py "$o --step 3125 -o $dir/kl3125.png"
grep -q 'step 3125' "$dir/out"; say "kl: it is the one asked for" $?
drawn "kl: terms seen in training, no evaluation needed" kl.py "$dir/early --training -o $dir/training.png"
drawn "kl: T = 2" kl.py "$dir/short -o $dir/short.png"
drawn "curves: two runs" curves.py "$g $o -o $dir/curves.png --dpi 100 --csv $dir/curves.csv"
drawn "curves: NaN losses, no evaluation" curves.py "$dir/early -o $dir/early.svg"
drawn "rate_distortion: two runs" rate_distortion.py "$g $o -o $dir/rd.png --dpi 100 --csv $dir/rd.csv"
cp "$dir/out" "$dir/rd.txt"
drawn "rate_distortion: a respaced evaluation" rate_distortion.py "$dir/respaced -o $dir/respaced.svg --csv $dir/respaced.csv"
drawn "kl: a respaced evaluation" kl.py "$g $dir/respaced -o $dir/respaced.png"
grep -Eq '^  t = 11..100 +4.75889 ' "$dir/out"; say "kl: the decades of t, not of columns" $?
drawn "difference: respaced against all steps" difference.py "$g $dir/respaced -o $dir/respaced.pdf"
grep -q "bounds of processes with other steps: only the totals compare" "$dir/out"; say "difference: says that the steps are others" $?
drawn "bits: two runs" bits.py "$g $dir/paired $dir/respaced -o $dir/bits.png --dpi 100 --csv $dir/bits.csv"
drawn "bits: terms not evaluated, nats" bits.py "$dir/subset -o $dir/subset.pdf --units nats"
drawn "by_class: one class without examples" by_class.py "$o -o $dir/classes.png --dpi 100 --csv $dir/classes.csv"
drawn "by_class: with the terms of the classes" by_class.py "$dir/paired $o -o $dir/class_terms.pdf"
drawn "schedule: one run" schedule.py "$g -o $dir/schedule.png --dpi 100 --csv $dir/schedule.csv"
drawn "schedule: other T" schedule.py "$g $dir/short -o $dir/schedules.svg"
drawn "difference: paired" difference.py "$dir/paired $dir/worse -o $dir/difference.png --dpi 100 --csv $dir/difference.csv"
grep -q 'worse - paired: .* (paired over 200 examples)' "$dir/out"; say "difference: over the rows of both" $?
drawn "difference: totals paired, terms not, and nothing paired" difference.py \
  "--band 2 $dir/paired $dir/totals $g -o $dir/wide.pdf --csv $dir/wide.csv"
grep -q 'totals - paired: .* (paired over 300 examples)' "$dir/out" && grep -q 'kl/example_vb is not in both files' "$dir/out" &&
  grep -q 'good - paired: .* (not paired, so wide: no results of single examples.* in good)' "$dir/out"
say "difference: says what is wide" $?
# Gradients of d numbers around a mean: |g_B|^2 is known to the last digit in expectation, and V is 9 and 4 an example.
"$python" - "$dir" 2>"$dir/err" <<'END'
import h5py, numpy as np, os, shutil, sys
random, mean = np.random.default_rng(5), np.full(40, 0.05)
for name, batch, steps, variance in (("u", 16, 600, 9), ("i", 16, 600, 4), ("l", 256, 200, 4), ("b", 8, 600, 9)):
    os.makedirs(f"{sys.argv[1]}/gv-{name}")
    path = f"{sys.argv[1]}/gv-{name}/metrics.h5"
    shutil.copy(f"{sys.argv[1]}/good/metrics.h5", path)
    g = mean + random.normal(0, np.sqrt(variance / 40 / batch), (steps, 40))
    with h5py.File(path, "r+") as f:
        f.attrs["name"], f.attrs["examples_per_step"] = name, batch
        del f["train"]
        for key, row in (("step", np.arange(1, steps + 1)), ("grad_norm", np.sqrt((g**2).sum(1))), ("rate", np.zeros(steps)), ("loss", np.ones(steps))):
            f[f"train/{key}"] = row
END
say "records of standing weights" $?
drawn "gradient_variance: 9 against 4" gradient_variance.py "$dir/gv-u $dir/gv-i --large $dir/gv-l --after 1600 -o $dir/gv.png"
holds "gradient_variance: the factor is in its interval, which leaves out 1" <<'END'
import os, re
value, low, high = map(float, re.search(r"is ([0-9.]+) times as large \(95 %: ([0-9.]+) to ([0-9.]+)\)", open(f"{os.environ['dir']}/out").read()).groups())
assert 1 < low < 2.25 < high and low < value < high and high - low < 0.8, (value, low, high)
END
refused "weights that moved" 5 "has weights that moved" gradient_variance.py "$g $o --large $dir/gv-l"
refused "a batch that is not larger" 5 "has batches of 8; allowed: more than the last run's 16" gradient_variance.py "$dir/gv-u $dir/gv-i --large $dir/gv-b"
drawn "difference: other T" difference.py "$g $dir/short -o $dir/short.svg"
drawn "points: samples over data" points.py "$g -o $dir/points.png --dpi 100"
drawn "points: reverse process" points.py "$g --trajectory -o $dir/path.png --dpi 100"
drawn "points: a sample file, two runs" points.py "$g/samples/step-00015625.h5 $o -o $dir/points.pdf"
drawn "record: lists the datasets" record.py "$g"
grep -Eq 'kl/vb_stderr +5x1000 +nats' "$dir/out"; say "record: shape and unit" $?

holds "pictures have the size asked for" <<'END'
import os, struct
want = {"kl": (700, 284), "curves": (700, 540), "rd": (900, 250), "points": (350, 360), "path": (960, 180),
        "bits": (700, 270), "classes": (440, 280), "schedule": (700, 540), "difference": (700, 284)}
for name, size in want.items():
    data = open(f"{os.environ['dir']}/{name}.png", "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", name
    assert struct.unpack(">II", data[16:24]) == size, (name, struct.unpack(">II", data[16:24]))
END
holds "pdf and svg are what they say" <<'END'
import os, xml.etree.ElementTree as xml
for name in ("kl", "one", "points", "subset", "wide"):
    assert open(f"{os.environ['dir']}/{name}.pdf", "rb").read(5) == b"%PDF-"
for name in ("exact", "early", "one", "schedules", "short"):
    assert xml.parse(f"{os.environ['dir']}/{name}.svg").getroot().tag.endswith("svg")
END

# For data N(0, I) and sigma_t^2 = beta_t the terms telescope:
# L_{t-1} = 1/2 log2((1 - abar_t) / (1 - abar_{t-1})) bits/dim, and E|x_0 - x0hat|^2 / D = 1 - abar_t.
cat >"$dir/oracle.py" <<'END'
from math import log, log2, sqrt
T, scale = 1000, 2.5
abar = [1.0]
for i in range(T):
    abar.append(abar[-1] * (1 - (1e-4 + (0.02 - 1e-4) * i / (T - 1))))
prior = -0.5 * log2(1 - abar[T])
def steps(first, last):         # the sum of L_{t-1} over t = first..last
    return 0.5 * log2((1 - abar[last]) / (1 - abar[first - 1]))
def rate(t):
    return prior + steps(max(t, 2), T)
def rmse(t):
    return scale * sqrt(1 - abar[t])
END
holds "the formulas give the tables of the analytic oracle" <<'END'
from oracle import *
assert abs(rate(1) - (6.643827077 + 2.911e-05)) < 1e-8 and abs(abar[501] - .0777966583650239) < 1e-14
END
holds "rate_distortion: ten rows like DDPM's table 4" <<'END'
import os
from oracle import *
rows = open(os.environ["dir"] + "/rd.txt").read().splitlines()
assert rows[0].startswith("good, step 15625"), rows[0]
assert rows[1].split()[:7] == "T - t + 1 rate [bits/dim]".split(), rows[1]
for row, n in zip(rows[2:12], range(1000, 0, -100)):
    count, r, d = row.split()
    t = T - n + 1
    assert int(count) == n and abs(float(r) - rate(t)) < 6e-6 and abs(float(d) - rmse(t)) < 6e-6, (row, rate(t), rmse(t))
END
holds "rate_distortion: --csv has every t in both units" <<'END'
import csv, os
from oracle import *
rows = [r for r in csv.DictReader(open(os.environ["dir"] + "/rd.csv")) if r["run"] == "good"]
assert [int(r["t"]) for r in rows] == list(range(1, T + 1))
for t, r in enumerate(rows, 1):
    assert abs(float(r["rate_bits_per_dim"]) - rate(t)) < 1e-7 * (1 + rate(t)), (t, r)
    assert abs(float(r["rate_nats"]) - 2 * log(2) * rate(t)) < 1e-7 * (1 + rate(t)), (t, r)
    assert abs(float(r["rmse"]) - rmse(t)) < 1e-7 and int(r["T-t+1"]) == T - t + 1, (t, r)
END
holds "kl, bits, curves, by_class: --csv has what the formulas and the record say" <<'END'
import csv, h5py, os
from oracle import *
read = lambda name: list(csv.DictReader(open(f"{os.environ['dir']}/{name}.csv")))
rows = read("kl")
assert [int(r["t"]) for r in rows] == list(range(1, T + 1)) and all(r["run"] == "good" and r["examples"] == "2000" for r in rows)
for t, r in enumerate(rows[1:], 2):
    assert abs(float(r["term_bits"]) - steps(t, t)) < 1e-8 and abs(float(r["rate_bits"]) - rate(t)) < 1e-7 * (1 + rate(t)), r
rows = [r for r in read("bits") if r["run"] == "good"]
for t, r in enumerate(rows[1:], 2):
    assert abs(float(r["running_bits"]) - rate(t)) < 1e-7 * (1 + rate(t)) and r["running_stderr_bits"] == "", r
assert abs(float(rows[0]["running_bits"]) - (2.047095585 + log2(scale))) < 1e-4, rows[0]
with h5py.File(os.environ["dir"] + "/paired/metrics.h5") as f:        # here with an error: that of the sums of each example
    of_each = f["kl/example_vb"][:, 499:].sum(axis=1) / (2 * log(2))
    r = [r for r in read("bits") if r["run"] == "paired"][499]
    assert abs(float(r["running_stderr_bits"]) / (of_each.std(ddof=1) / sqrt(300)) - 1) < 1e-7, r
with h5py.File(os.environ["dir"] + "/other/metrics.h5") as f:
    rows = [r for r in read("curves") if r["run"] == "other"]
    loss = [(int(r["step"]), float(r["value"])) for r in rows if r["quantity"] == "loss"]
    assert [s for s, _ in loss] == f["train/step"][()].tolist() and max(abs(f["train/loss"][()] - [v for _, v in loss])) < 1e-8
    total = [(float(r["value"]), float(r["stderr"])) for r in rows if r["quantity"] == "total_bits"]
    assert len(total) == 5 and abs(total[4][0] - f["kl/total_bits"][4]) < 1e-7
    assert abs(total[4][1] - f["kl/total_stderr_bits"][4]) < 1e-8
    rows = read("classes")
    assert [r["examples"] for r in rows] == ["0", "500", "500", "500"] and rows[0]["total_bits"] == ""
    assert [r["name"] for r in rows] == ["kind 0", "kind 1", "kind 2", "kind 3"]
    assert all(abs(float(rows[c]["total_bits"]) * 2 * log(2) - f["kl/class_total"][4, c]) < 1e-7 for c in (1, 2, 3))
END
# The telescope again: respaced terms, too, are half the logarithm of (1 - abar) from one t to the next that is used.
holds "a respaced evaluation: rate and distortion at its t, areas that are bits" <<'END'
import csv, os
import numpy as np
from oracle import *
rows = list(csv.DictReader(open(os.environ["dir"] + "/respaced.csv")))
t = [int(r["t"]) for r in rows]
assert len(t) == 50 and t[0] == 1 and t[-1] == T and [int(r["T-t+1"]) for r in rows] == list(range(50, 0, -1))
for below, r in zip(t, rows[1:]):
    value = prior + 0.5 * log2((1 - abar[T]) / (1 - abar[below]))
    assert abs(float(r["rate_bits_per_dim"]) - value) < 1e-7 * (1 + value) and abs(float(r["rmse"]) - rmse(int(r["t"]))) < 1e-7, r
assert t[1] > 10 and abs(prior + 0.5 * log2((1 - abar[T]) / (1 - abar[1])) - rate(1)) < 1e-9
from diffx_analysis import Run, bits, figure
b = bits.Bits(Run(os.environ["dir"] + "/respaced").evaluation())
fig, (ax,) = figure.panels(1, 1)
bits.draw_density(ax, [b])
x, y = ax.lines[0].get_data()
assert x.tolist() == t[1:] and abs((y * np.diff(np.log(t))).sum() + prior - rate(1)) < 1e-9
END
holds "by_class: the terms of a class, summed down to t, tell where it costs more" <<'END'
import os
from math import log
from diffx_analysis import Run, by_class, figure
k = Run(os.environ["dir"] + "/paired").classes()
fig, (ax,) = figure.panels(1, 1)
assert by_class.has_terms(k) and not by_class.has_terms(Run(os.environ["dir"] + "/other").classes())
by_class.draw_terms(ax, k, "bits")
lines = {line.get_label(): line.get_ydata() for line in ax.lines if line.get_label().startswith("kind")}
assert list(lines) == ["kind 1", "kind 2", "kind 3"], lines
for c, y in enumerate(lines.values(), 1):
    assert abs(y[0] - (k.total[c] - k.whole[0])) < 1e-9 and abs(y[5] - (c - 2) / (2 * log(2))) < 1e-9 and abs(y[6:]).max() < 1e-12
END
# alpha_bar, beta~: as other programs compute them for DDPM's schedule. Where p has the variance of q, a squared error of x_0
# costs c^2 / (2 beta~) with the c that multiplies x_0 in the mean of q (DDPM, eq. 7): the weight, written without SNR.
holds "schedule: --csv has the published numbers, SNR and weights" <<'END'
import csv, os
from oracle import *
rows = list(csv.DictReader(open(os.environ["dir"] + "/schedule.csv")))
rows = [{k: float(v) if v and k != "run" else v for k, v in r.items()} for r in rows]
assert len(rows) == T and rows[0]["beta"] == 1e-4 and rows[-1]["beta"] == 0.02 and rows[0]["weight"] == ""
near = lambda a, b: abs(a / b - 1) < 1e-8
assert near(rows[-1]["alpha_bar"], 4.03582976537568e-05) and near(rows[500]["alpha_bar"], .0777966583650239)
assert near(rows[1]["posterior_variance"], 5.45318766130219e-05)
for t, r in enumerate(rows, 1):
    assert abs(r["snr"] * (1 - abar[t]) / abar[t] - 1) < 1e-6 and (t == 1 or r["variance"] == r["beta"]), (t, r)
    if t > 1:
        c = sqrt(abar[t - 1]) * r["beta"] / (1 - abar[t])
        assert abs(r["weight"] * 2 * r["posterior_variance"] / c ** 2 - 1) < 1e-6, (t, r)
END
# Equal rows share what they cost: --worse 0.05 makes each KL term dearer by a twentieth, whatever the example.
holds "difference: by hand, the truth, the gain of pairs" <<'END'
import csv, h5py, math, os, statistics
from oracle import *
def read(name):
    with h5py.File(f"{os.environ['dir']}/{name}/metrics.h5") as f:
        last = lambda d: d[0] if len(d) == 1 else d[()]
        rows = f["kl/example_row"][()].tolist()
        return ({r: v for r, v in zip(rows, last(f["kl/example_total"]))}, {r: v for r, v in zip(rows, last(f["kl/example_vb"]))},
                f["kl/total_stderr_bits"][0])
(a, a_vb, a_error), (b, b_vb, b_error) = read("paired"), read("worse")
both, bits = sorted(set(a) & set(b)), 2 * log(2)
assert both == list(range(100, 300)) and list(a) != sorted(a)
def by_hand(d):
    return statistics.fmean(d) / bits, statistics.stdev(d) / sqrt(len(d)) / bits
rows = {r["t"]: r for r in csv.DictReader(open(os.environ["dir"] + "/difference.csv"))}
def agree(r, names, pair, count="200"):
    for name, value in zip(names, pair):
        assert abs(float(r[name + "_bits"]) - value) < 2e-8 * (1 + abs(value)), (name, r, pair)
    assert r["pairs"] == count and r["run"] == "worse" and r["reference"] == "paired", r
total = by_hand([b[r] - a[r] for r in both])
agree(rows["total"], ("difference", "stderr"), total)
for t in (1, 2, 17, 500, 1000):
    agree(rows[str(t)], ("difference", "stderr"), by_hand([b_vb[r][t - 1] - a_vb[r][t - 1] for r in both]))
    agree(rows[str(t)], ("running", "running_stderr"), by_hand([b_vb[r][t - 1:].sum() - a_vb[r][t - 1:].sum() for r in both]))
truth = 0.05 * steps(2, T)
assert abs(total[0] - truth) < 4 * total[1] and 5 * total[1] < math.hypot(a_error, b_error), (total, truth, a_error, b_error)
wide = [r for r in csv.DictReader(open(os.environ["dir"] + "/wide.csv")) if r["run"] == "good"]
with h5py.File(os.environ["dir"] + "/good/metrics.h5") as f:
    assert abs(float(wide[0]["stderr_bits"]) - math.hypot(a_error, f["kl/total_stderr_bits"][4])) < 1e-8
    assert wide[0]["pairs"] == "0"
END
if "$python" -c 'import xarray' 2>/dev/null; then
  holds "record: labelled arrays, with xarray" <<END
import xarray
from diffx_analysis import Run
r, each = Run("$g"), Run("$dir/worse")
vb = r.labelled("kl/vb", "bits")
assert isinstance(vb, xarray.DataArray) and vb.dims == ("step", "t") and vb.name == "vb" and vb.attrs["units"] == "bits/dim"
assert (vb.sel(step=3125).values == r.evaluation(3125).term).all()
assert float(vb.sel(step=15625, t=501)) == r.evaluation().term[500]
assert r.labelled("kl/vb").attrs["units"] == "nats" and r.labelled("process/beta").dims == ("t",)
d = each.labelled("kl")
assert isinstance(d, xarray.Dataset)
assert d["example_vb"].dims == ("step", "example", "t") and d["example_row"].dims == ("example",)
row = d["example_row"].values[7]
assert float(d["example_total"].sel(example=row).squeeze()) == each.array("kl/example_total")[0, 7]
assert Run("$o").labelled("kl/class_total").dims == ("step", "class")
assert float(r.labelled("train")["loss"].sel(step=300)) == r.array("train/loss")[2]
END
else
  n=$((n + 1)); echo "ok $n # SKIP record: labelled arrays, with xarray: $python has none"
fi
holds "record: labelled arrays, without xarray" <<END
import sys
import numpy as np
sys.modules["xarray"] = None             # as if it were not installed
from diffx_analysis import Run
r = Run("$g")
vb, d = r.labelled("kl/vb", "bits"), r.labelled("kl")
assert type(vb) is np.ndarray and np.array_equal(vb[-1], r.evaluation().term)
assert type(d) is dict and type(d["vb"]) is np.ndarray and np.array_equal(d["vb"], r.array("kl/vb"))
END
holds "package: imports from anywhere, draws in a notebook, hides nobody's modules" <<END
import os, sys
where = os.path.abspath(sys.path.pop())
os.chdir("/")
sys.path.insert(0, where)            # at the worst place
import matplotlib
before = dict(matplotlib.rcParams)
from diffx_analysis import Run, bits, difference, figure, kl, open_runs
assert matplotlib.rcParams == before, "a notebook keeps its own looks"
import cProfile, profile
assert hasattr(profile, "Profile") and not profile.__file__.startswith(where) and kl.__name__ == "diffx_analysis.kl"
a, b = open_runs(["$dir/paired", "$dir/worse"])
fig, axes = figure.panels(1, 2)
kl.draw_terms(axes[0], [a.evaluation(), b.evaluation()])
difference.draw_terms(axes[1], difference.differences([a.evaluation(), b.evaluation()]))
assert len(axes[0].lines) == 2 and axes[1].get_xscale() == "log"
for band in (1.0, 1.96):                 # its upper edge is where it is said to be
    ax, k = figure.panels(1, 1)[1][0], a.evaluation()
    kl.draw_terms(ax, [k], band=band)
    edge = {x: y for x, y in ax.collections[0].get_paths()[0].vertices if y > k.term[int(x) - 1]}
    assert len(edge) == 999 and all(abs(y - k.term[int(x) - 1] - band * k.stderr[int(x) - 1]) < 1e-12 for x, y in edge.items())
END
# The colours as published: Okabe and Ito, "Color Universal Design", in the order there.
holds "figures: all colours are Okabe and Ito's, or grey" <<END
import glob, re
published = {(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115),
             (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)}
from diffx_analysis import figure
colours = [tuple(bytes.fromhex(c[1:])) for c in figure.COLOURS]
assert set(colours) <= published and len(set(colours)) == len(colours) == len(figure.LINES)
assert len({str(s) for s in figure.LINES[:6]}) == 6, "told apart in grey, too"
for path in glob.glob("$top/analysis/*.py"):
    text = open(path, encoding="utf-8").read()
    for found in re.findall(r'"#([0-9A-Fa-f]{6})"', text):
        colour = tuple(bytes.fromhex(found))
        assert colour in published or len(set(colour)) == 1, (path, found)
    named = set(re.findall(r"""(?:color|colour|facecolor|edgecolor|\bc)["']?[=:] *["']([a-z]+)["']""", text))
    assert named <= {"black", "white", "none"}, (path, named)
END
if "$python" -c 'from tensorboard.summary.writer.event_file_writer import EventFileWriter' 2>/dev/null; then
  draw tensorboard.py "$g $o -o $dir/events"; draw tensorboard.py "$g $o -o $dir/events"
  say "tensorboard: two runs, written again" $?
  holds "tensorboard: its own reader finds the numbers of the record" <<'END'
import h5py, os
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
for run in ("good", "other"):
    found = EventAccumulator(f"{os.environ['dir']}/events/{run}", size_guidance={"scalars": 0})
    found.Reload()
    with h5py.File(f"{os.environ['dir']}/{run}/metrics.h5") as f:
        for tag, name in (("train/loss", "train/loss"), ("train/grad_norm", "train/grad_norm"),
                                ("train/rate", "train/rate"), ("bound/total_bits_per_dim", "kl/total_bits"),
                                ("bound/total_stderr_bits_per_dim", "kl/total_stderr_bits")):
            events = found.Scalars(tag)
            assert [e.step for e in events] == f[name.split("/")[0] + "/step"][()].tolist(), tag
            assert all(abs(e.value - v) <= 1e-6 * abs(v) for e, v in zip(events, f[name][()])), tag
        assert found.Scalars("train/loss")[0].wall_time == 1.7e9 + f["timing/seconds"][0]
END
else
  n=$((n + 1)); echo "ok $n # SKIP tensorboard: $python has no package of this name"
fi
cat >"$dir/without.py" <<END
import runpy, sys
sys.modules["tensorboard"] = None        # as if it were not installed
sys.path.insert(0, "$top/analysis")
runpy.run_path("$top/analysis/tensorboard.py", run_name="__main__")
END
run "$dir/without.py" "$g -o $dir/none"
test $? -eq 4 && test "$(wc -l <"$dir/err")" -eq 1 && grep -q 'pip install tensorboard' "$dir/err"
say "tensorboard: not installed, one line" $?
holds "kl: shares of the decades, prior and negative decoder term as numbers" <<'END'
import os, re
from oracle import *
text = open(os.environ["dir"] + "/kl.txt").read()
for first, last in ((2, 10), (11, 100), (101, 1000)):
    value, share = re.search(rf"t = {first}\.\.{last} +(\S+) +(\S+) %", text).groups()
    assert abs(float(value) - steps(first, last)) < 6e-6, (value, steps(first, last))
    assert abs(float(share) - 100 * steps(first, last) / rate(1)) < 0.06
assert abs(float(re.search(r"prior L_T +(\S+)", text).group(1)) - prior) < 1e-9
assert abs(float(re.search(r"decoder L_0 +(\S+)", text).group(1)) - (-4.596760605 + log2(scale))) < 1e-4
END
holds "record: by-t terms, settings, differences" <<END
import numpy as np
from diffx_analysis import open_runs, record
from oracle import *
a, b = open_runs(["$g", "$o/metrics.h5"])
k = a.evaluation()
assert abs(k.term[500] - 6.186605e-04) < 1e-9 and k.t[0] == 1 and k.examples == 2000 and k.weights == "averaged"
assert abs(k.total[0] - k.decoder[0] - k.rate()[0]) < 1e-9
assert record.differences([a, b]) == [("name", ["good", "other"]), ("train.rate", ["0.001", "0.0005"])]
s = a.settings()
assert s["data.noise"] == "0.2" and s["model.hidden"] == "[128, 128]" and s["process.variance"] == "fixed-large", s
assert record.flatten("a: {b: [1, 2], c: {d: 'x, y'}}\ne:\n  - 1\n  - 2\nf: 1\n") == {
    "a.b": "[1, 2]", "a.c.d": "x, y", "e": "1, 2", "f": "1"}, record.flatten("e:\n  - 1\n")
k.term[100:103] = np.nan
assert k.missing == 3 and abs(k.rate()[0] / rate(1) - 1) < 1e-6
facts, sessions = a.provenance()
assert facts["commit"] == "c2f53c8" and sessions[1]["ranks"] == 3 and sessions[1]["host"] == "node02"
END

drawn "report: three runs" report.py "$g $o $dir/subset -o $dir/report.html"
cp "$dir/report.html" "$dir/again.html"
"$python" "$top/analysis/report.py" "$g" "$o" "$dir/subset" -o "$dir/report.html" >"$dir/err" 2>&1; say "report: again" $?
cmp "$dir/report.html" "$dir/again.html" >"$dir/err" 2>&1; say "report: equal records, equal bytes" $?
drawn "report: a run that has just begun, images, odd names" \
  report.py "$dir/early $dir/image -o $dir/odd.html --labels <b>&\"x',\$a_b"
holds "report: valid structure, alone, images with words" <<'END'
import base64, os, re
from html.parser import HTMLParser
EMPTY = {"meta", "img", "br", "hr", "link", "input"}
class Page(HTMLParser):
    def __init__(self):
        super().__init__(); self.open, self.ids, self.links, self.tags, self.images = [], [], [], [], 0
    def handle_starttag(self, tag, attrs):
        a = dict(attrs); self.tags.append(tag)
        assert len(a) == len(attrs), f"attribute twice in {tag}"
        if tag not in EMPTY: self.open.append(tag)
        if "id" in a: self.ids.append(a["id"])
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            if key in a:
                assert a[key].startswith(("#", "data:image/")), f"{tag} {key}={a[key][:60]}"
                if a[key].startswith("#"): self.links.append(a[key][1:])
        if tag == "img":
            self.images += 1
            assert len(a.get("alt", "")) > 15, "image without words"
            picture = base64.b64decode(a["src"].split(",", 1)[1], validate=True)
            assert picture.startswith((b"\x89PNG", b"<?xml")), picture[:20]
            assert not re.search(rb'(?:href|src)="(?!#)', picture), "a picture that asks for more"
        if tag == "html": assert a.get("lang")
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> out of place"
for name, images in (("report", 23), ("odd", 14)):
    text = open(f"{os.environ['dir']}/{name}.html", encoding="utf-8").read()
    p = Page(); p.feed(text); p.close()
    assert text.startswith("<!DOCTYPE html>") and not p.open and len(set(p.ids)) == len(p.ids)
    assert set(p.links) <= set(p.ids), set(p.links) - set(p.ids)
    assert p.tags.count("h1") == 1 and p.tags.count("title") == 1 and "viewport" in text
    assert not {"script", "link", "iframe", "object"} & set(p.tags) and "url(" not in text and "@import" not in text
    assert p.images == images, (name, p.images)
END
holds "report: numbers, differences, warnings" <<'END'
import os, re
from oracle import *
text = open(os.environ["dir"] + "/report.html", encoding="utf-8").read()
plain = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))
assert f" 1000 {rate(1):.5f} {rmse(1):.5f} " in plain and f" 500 {rate(501):.5f} {rmse(501):.5f} " in plain
assert f"{2.047095585 + log2(scale):.3f} ± 0.031" in plain, "total with its standard error"
assert " train.rate 0.001 0.0005 0.001 " in plain and "node02" in plain and "KL terms were not evaluated" in plain
odd = open(os.environ["dir"] + "/odd.html", encoding="utf-8").read()
assert "no evaluation in its record" in odd and "rows of the training loss are not finite" in odd
assert "<b>" not in odd and "&lt;b&gt;&amp;&quot;x&#x27;" in odd
END

# What a browser makes of it; a page with a table too wide and a picture that is none must not pass.
echo '<!DOCTYPE html><title>x</title><h1>x</h1><img src="data:image/png;base64,AAAA"><p style="width:900px">x' >"$dir/ill.html"
"$python" "$top/tests/browser.py" "$dir/report.html" 400 1400 >"$dir/err" 2>&1
case $? in
  77) n=$((n + 1)); echo "ok $n # SKIP report: $(cat "$dir/err")" ;;
  0) say "report: in a browser, 400 and 1400 px wide" 0
     "$python" "$top/tests/browser.py" "$dir/odd.html" 400 1400 >"$dir/err" 2>&1; say "report: the odd one in a browser" $?
     "$python" "$top/tests/browser.py" "$dir/ill.html" 400 >"$dir/err" 2>&1
     test $? -eq 1 && grep -q 'at 400 px: the page is' "$dir/err" && grep -q 'an image cannot be drawn' "$dir/err"
     say "browser: sees what is ill" $? ;;
  *) say "report: in a browser, 400 and 1400 px wide" 1 ;;
esac

echo text >"$dir/text.h5"; : >"$dir/empty.h5"; mkdir "$dir/bare"
head -c 20000 "$g/metrics.h5" >"$dir/cut.h5"
"$python" -c "import h5py; h5py.File('$dir/foreign.h5', 'w').create_dataset('x', data=[1])"
refused "no such run" 4 "nowhere: no such run folder" kl.py "$dir/nowhere"
refused "folder without a record" 4 "without metrics.h5" kl.py "$dir/bare"
refused "empty file" 5 "is empty" kl.py "$dir/empty.h5"
refused "text file" 5 "text.h5: not an HDF5 file" report.py "$dir/text.h5"
refused "truncated record" 5 "truncated HDF5 file" curves.py "$dir/cut.h5"
refused "another program's file" 5 "not one that diffx wrote" kl.py "$dir/foreign.h5"
refused "samples for a record" 5 'holds "samples"' kl.py "$g/samples/step-00015625.h5"
refused "newer format" 5 "format 2 is newer than 1" kl.py "$dir/newer"
refused "newer samples" 5 "format 2 is newer than 1" points.py "$dir/newer"
refused "kl without evaluation" 5 "no evaluation in this record" kl.py "$dir/early"
refused "rate_distortion without evaluation" 5 "no evaluation in this record" rate_distortion.py "$dir/early"
refused "no samples" 4 "no samples yet" points.py "$dir/early"
refused "samples are images" 5 "points are wanted" points.py "$dir/image"
refused "closed form of a respaced evaluation" 5 "a respaced evaluation; the closed form" kl.py "$dir/respaced --gaussian 1"
refused "a step without evaluation" 2 "no evaluation at step 7; there are 3125" kl.py "$g --step 7"
refused "a step without samples" 2 "no samples of step 7; there are 15625" points.py "$g --step 7"
refused "unknown ending" 2 "must end in .png, .pdf, .svg" kl.py "$g -o $dir/kl.xyz"
refused "an unknown ending among several" 2 "must end in .png, .pdf, .svg" kl.py "$g -o $dir/a.png -o $dir/a.txt"
refused "difference of other data" 5 "was made on other data (dataset_hash 01234567" difference.py "$dir/paired $dir/foreign"
refused "difference without common rows" 5 "has 0 of its 9 examples in common" difference.py "$dir/paired $dir/apart"
refused "classes without labels" 5 "its data have no labels" by_class.py "$g"
draw kl.py "$g --band 0"; test $? -eq 2 && grep -q 'band must be above 0' "$dir/err"; say "refused: no band" $?
draw difference.py "$g"; test $? -eq 2 && grep -q 'at least two runs' "$dir/err"; say "refused: difference of one run" $?
refused "fewer labels than runs" 2 "1 names for 2 runs" kl.py "$g $o --labels a"
refused "folder to write to is missing" 4 "no such file or directory" kl.py "$g -o $dir/none/kl.png"
# The same on what diffx itself writes, where it is built.
if test -x ./diffx; then
  for e in gaussian smoke; do
    ./diffx "$top/experiments/$e.yaml" "output=$dir/real/$e" evaluate.examples=500 >"$dir/err" 2>&1; say "diffx: $e" $?
  done
  drawn "real runs: kl" kl.py "$dir/real/gaussian $dir/real/smoke -o $dir/real.png"
  drawn "real runs: curves" curves.py "$dir/real/smoke -o $dir/real.png"
  drawn "real runs: curves beside one that is not trained" curves.py "$dir/real/smoke $dir/real/gaussian -o $dir/real.png"
  drawn "real runs: rate_distortion" rate_distortion.py "$dir/real/gaussian -o $dir/real.png"
  drawn "real runs: points" points.py "$dir/real/gaussian $dir/real/smoke -o $dir/real.png"
  drawn "real runs: reverse process" points.py "$dir/real/smoke --trajectory -o $dir/real.png"
  drawn "real runs: report" report.py "$dir/real/gaussian $dir/real/smoke -o $dir/real.html"
  ./diffx evaluate "$dir/real/smoke" -o "$dir/late.h5" >"$dir/err" 2>&1; say "diffx evaluate" $?
  drawn "real runs: kl of a later evaluation" kl.py "$dir/late.h5 -o $dir/real.png"
  drawn "real runs: schedule" schedule.py "$dir/real/gaussian $dir/real/smoke -o $dir/real.png"
  ./diffx evaluate "$dir/real/smoke" -o "$dir/few.h5" evaluate.respace=10 >"$dir/err" 2>&1; say "diffx evaluate, respaced" $?
  ./diffx evaluate "$dir/real/smoke" -o "$dir/each.h5" evaluate.per_example=terms evaluate.timesteps=all >"$dir/err" 2>&1
  say "diffx evaluate, terms of each example" $?
  drawn "real runs: bits" bits.py "$dir/late.h5 $dir/few.h5 $dir/each.h5 -o $dir/real.png"
  drawn "real runs: difference" difference.py "$dir/each.h5 $dir/late.h5 $dir/few.h5 -o $dir/real.png"
  test "$(grep -c '(paired over 100 examples)' "$dir/out")" -eq 2; say "real runs: paired" $?
  grep -q 'train.warmup' "$dir/real.html"; say "real runs: settings" $?
  holds "real runs: every KL term agrees with the oracle within 5 standard errors" <<END
from diffx_analysis import Run
from oracle import *
k = Run("$dir/real/gaussian").evaluation()
for t in range(2, T + 1):
    assert abs(k.term[t - 1] - steps(t, t)) < 5 * k.stderr[t - 1], (t, k.term[t - 1], steps(t, t), k.stderr[t - 1])
END
fi
echo "1..$n"
