#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens what a diffx run leaves behind (doc/formats.md): the record metrics.h5 and the sample files.

As a module: Run("runs/points") opens the record of a run, open_samples(...) its samples.
As a script: lists every dataset of a record with its shape, unit and description.

t is the paper's timestep, 1..T. A by-t array has T columns and column i belongs to t = i + 1:
column 0 is the decoder term L_0, column i >= 1 the KL term L_i of the step from t = i + 1 to i.
"""
import argparse
import glob
import math
import os
import re
import sys

# A record is replaced whole and never changed in place, so reading needs no lock. Network and
# read-only file systems often have none, and HDF5 would refuse to open.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

import h5py
import numpy as np

FORMAT = 1  # the newest format that these scripts read

USAGE, IO, DATA = 2, 4, 5  # exit statuses, those of diffx


class RunError(Exception):
    """What a user can mend: one line that begins with the path."""

    def __init__(self, path, text, status=DATA):
        super().__init__(" ".join(f"{path}: {text}".split()))
        self.status = status


# --- files ----------------------------------------------------------------

def _text(value):
    """A text attribute or element as str, however the writer stored it."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _File:
    """An HDF5 file of diffx whose content and format have been checked."""

    def __init__(self, path, content):
        self.path = path
        try:
            with open(path, "rb") as f:
                f.read(1)
        except OSError as e:
            raise RunError(path, (e.strerror or str(e)).lower(), IO) from None
        if not h5py.is_hdf5(path):
            raise RunError(path, "is empty" if os.path.getsize(path) == 0 else "not an HDF5 file")
        try:
            self._h5 = h5py.File(path, "r")
        except OSError as e:
            word = "truncated" if "truncated" in str(e) else "damaged"
            raise RunError(path, f"{word} HDF5 file ({e})") from None
        self._check(content)

    def _check(self, content):
        found = self.attr("content", None)
        if found is None or self.attr("program", None) != "diffx":
            raise RunError(self.path, "an HDF5 file, but not one that diffx wrote")
        version = self.number("format")
        if version > FORMAT:
            raise RunError(self.path, f"format {version:.0f} is newer than {FORMAT}, the newest known here; "
                                         "use the analysis scripts of the diffx that wrote it")
        if found != content:
            raise RunError(self.path, f'holds "{found}", a "{content}" file is wanted')

    def attr(self, name, *default):
        """A text attribute of the file."""
        if name not in self._h5.attrs:
            if default:
                return default[0]
            raise RunError(self.path, f"attribute {name} is missing")
        return _text(self._h5.attrs[name])

    def number(self, name, *default):
        """A numeric attribute of the file as float."""
        text = self.attr(name, *default)
        try:
            return float(text.strip("[]")) if isinstance(text, str) else text
        except ValueError:
            raise RunError(self.path, f"attribute {name} is {text!r}, a number is wanted") from None

    def has(self, name):
        return name in self._h5 and isinstance(self._h5[name], h5py.Dataset)

    def shape(self, name):
        return self._h5[name].shape

    def array(self, name, *shape):
        """A dataset of numbers as floats; shape, where given, is demanded (None: any length)."""
        if not self.has(name):
            raise RunError(self.path, f"dataset {name} is missing")
        try:
            values = self._h5[name][()]
        except OSError as e:
            raise RunError(self.path, f"dataset {name} cannot be read ({e})") from None
        values = np.asarray(values)
        if values.dtype.kind not in "fiu":
            raise RunError(self.path, f"{name} holds no numbers")
        if shape and (values.ndim != len(shape)
                      or any(w is not None and w != n for w, n in zip(shape, values.shape))):
            wanted = ", ".join("*" if w is None else str(w) for w in shape)
            raise RunError(self.path, f"{name} is ({', '.join(map(str, values.shape))}), wanted is ({wanted})")
        return values.astype(float)

    def describe(self):
        """(name, shape, units, description) of every dataset, in order of name."""
        rows = []

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                rows.append((name, item.shape, _text(item.attrs.get("units", "")),
                             _text(item.attrs.get("description", ""))))
        self._h5.visititems(visit)
        return sorted(rows)

    def close(self):
        self._h5.close()


def _xarray():
    """The package, where it is installed; asked for late, as it is slow to come."""
    try:
        import xarray
    except ImportError:
        return None
    return xarray


# --- the record -----------------------------------------------------------

# What the figures read. Each dataset has a row per row of its group's step, those of BY_T also T columns.
BY_ROW = {"train": ("loss", "grad_norm", "rate"), "train_by_t": (), "timing": ("examples_per_second",),
          "kl": ("examples", "ema") + tuple(n + e for n in ("prior", "decoder", "total") for e in ("", "_stderr"))}
BY_T = {"kl": ("vb", "vb_stderr", "x0_mse", "count"), "train_by_t": ("kl", "x0_mse", "count"),
        "process": ("beta", "alpha_bar", "posterior_variance", "variance")}


class Terms:
    """The terms of the bound at one step of training, in bits/dim or nats.

    t              (T,) 1..T; of a respaced evaluation (T shorter) the t of its steps
    term, stderr   (T,) L_0 and the KL terms; NaN where no example was evaluated
    x0_mse, count  (T,) mean squared error of x0 in normalised units; examples
    prior, decoder, total: (value, standard error), or None where not evaluated
    """

    def __init__(self, record, group, row, units):
        f = record.units_factor(units)
        kl = group == "kl"
        self.record, self.units, self._row = record, units, row if kl else None
        self.step = int(record.array(f"{group}/step")[row])
        self.t = record.times(group)
        self.term = record.array("kl/vb" if kl else "train_by_t/kl")[row] / f
        self.stderr = record.array("kl/vb_stderr")[row] / f if kl else np.full(len(self.t), np.nan)
        self.x0_mse = record.array(f"{group}/x0_mse")[row]
        self.count = record.array(f"{group}/count")[row]
        self.prior = self.decoder = self.total = self.examples = None
        self.weights = "raw"
        if kl:
            self.prior, self.decoder, self.total = (record.total(n, units, row) for n in ("prior", "decoder", "total"))
            self.examples = int(record.array("kl/examples")[row])
            self.weights = record.weights(int(record.array("kl/ema")[row]))

    @property
    def missing(self):
        """How many KL terms no example was evaluated at."""
        return int(np.isnan(self.term[1:]).sum())

    def by_example(self):
        """The results of the single examples as Examples; None where the file holds none of this evaluation."""
        r, row = self.record, self._row
        if row is None or not r.has("kl/example_total"):
            return None
        one = r.shape("kl/example_total")[0] != r.evaluations      # not a row per evaluation: of the last
        return None if one and row + 1 < r.evaluations else Examples(r, row, self.units)

    def filled(self):
        """The terms, those not evaluated interpolated between their neighbours (straight in
        log t and log L, as the terms fall like a power of t)."""
        step = np.arange(len(self.t)) > 0      # all but L_0
        known = np.isfinite(self.term) & step
        if not known.any() or not self.missing:
            return self.term
        y = self.term[known]
        logs = (y > 0).all()
        there = np.interp(np.log(self.t), np.log(self.t[known]), np.log(y) if logs else y)
        return np.where(np.isfinite(self.term) | ~step, self.term, np.exp(there) if logs else there)

    def rate(self):
        """(T,) the rate at t: the prior and the KL terms of the steps s >= t, s >= 2 (DDPM, table 4).
        At t = 1 and t = 2 it is all but the decoder term."""
        kl = self.filled().copy()
        kl[0] = 0.0
        return (self.prior[0] if self.prior else 0.0) + np.cumsum(kl[::-1])[::-1]

    def distortion(self):
        """(T,) root mean squared error of the x0 predicted at t, in units of the data."""
        return abs(self.record.scale) * np.sqrt(self.x0_mse)

    def shares(self):
        """[(first t, last t, sum of the KL terms)] by powers of ten of t, and the prior as (None, None, L_T)."""
        T, kl, rows = int(self.t[-1]), np.append(0.0, self.filled()[1:]), []
        first, last = 2, 10
        while first <= T:
            rows.append((first, min(last, T), float(kl[(self.t >= first) & (self.t <= last)].sum())))
            first, last = last + 1, last * 10
        return rows + ([(None, None, self.prior[0])] if self.prior else [])


class Run(_File):
    """The record of a run: given is its folder, its metrics.h5, or a file that `diffx evaluate` wrote."""

    def __init__(self, run):
        path = record_path(run)
        super().__init__(path, "record")
        self.label = self.name = self.attr("name", "") or os.path.basename(os.path.dirname(os.path.abspath(path)))
        self.place = 0  # among the runs of a figure: gives its colour
        self.folder = os.path.dirname(path) or "."
        self.dimension = int(self.number("dimension"))
        self.timesteps = int(self.number("timesteps"))
        if self.dimension < 1 or self.timesteps < 1:
            raise RunError(path, f"dimension {self.dimension} and timesteps {self.timesteps} must be at least 1")
        self.modality = self.attr("modality", "")
        self.scale = self.number("scale", 1.0)
        self.experiment = self.attr("experiment", "")

    def array(self, name, *shape):
        group, _, member = name.partition("/")
        if member == "step":
            shape = (None,)
        elif group == "process" and member in BY_T[group]:
            shape = (self.timesteps,)
        elif member in BY_ROW.get(group, ()) + BY_T.get(group, ()):
            shape = (self.rows(group),) + ((len(self.times(group)),) if member in BY_T.get(group, ()) else ())
        return super().array(name, *shape)

    def of_evaluation(self, name, row, *shape):
        """A dataset of the group kl that has the shape itself, or has it for each evaluation."""
        if self.has(name) and len(self.shape(name)) == len(shape) + 1:
            return self.array(name, self.evaluations, *shape)[row]
        return self.array(name, *shape)

    def labelled(self, name, units="nats"):
        """A dataset with its dimensions, coordinates, unit and description as xarray.DataArray, or a group ("kl") of
        them as xarray.Dataset; where xarray is not installed the plain array, or {name: array}. units="bits" turns
        nats into bits/dim."""
        if isinstance(self._h5.get(name), h5py.Group):
            members = {n: self.labelled(f"{name}/{n}", units) for n, d in self._h5[name].items() if d.dtype.kind in "fiu"}
            return _xarray().Dataset(members) if _xarray() else members
        values, unit = self.array(name), _text(self._h5[name].attrs.get("units", ""))
        if unit == "nats" and units == "bits":
            values, unit = values / self.units_factor(units), "bits/dim"
        if not _xarray():
            return values
        dims = self._dimensions(name)
        about = {"units": unit, "description": _text(self._h5[name].attrs.get("description", ""))}
        return _xarray().DataArray(values, self._coordinates(name, dims), dims, name.rpartition("/")[2], about)

    def _dimensions(self, name):
        """step, example or class, t: those that the dataset has, in this order."""
        data, member = self._h5[name], name.rpartition("/")[2]
        names, kind, end = [f"{member}_{i}" for i in range(data.ndim)], member.partition("_")[0], data.ndim
        if end and (member in ("t", "example_vb", "class_vb") or len(data.dims[end - 1])):
            end -= 1
            names[end] = "t"
        if end and kind in ("example", "class"):
            end -= 1
            names[end] = kind
        if end == 1 and self.has(f"{data.parent.name}/step") and len(data) == len(data.parent["step"]):
            names[0] = "step"
        return names

    def _coordinates(self, name, dims):
        group = name.partition("/")[0]
        found = {"t": lambda: self.times(group), "step": lambda: self.array(f"{group}/step").astype(np.int64),
                 "example": lambda: self.of_evaluation("kl/example_row", -1, None).astype(np.int64)}
        return {d: (d, np.asarray(found[d]())) for d in dims if d in found}

    def rows(self, group):
        """How many rows a group has; 0 where it is not there."""
        return len(self.array(f"{group}/step")) if self.has(f"{group}/step") else 0

    def times(self, group):
        """The t of each column of a group: 1..T, but those of its steps in a respaced evaluation."""
        if group != "kl" or not self.has("kl/t"):
            return np.arange(1, self.timesteps + 1)
        t = super().array("kl/t", None).astype(np.int64)
        if len(t) < 1 or t[0] < 1 or t[-1] > self.timesteps or (np.diff(t) < 1).any():
            raise RunError(self.path, f"kl/t does not rise within 1..{self.timesteps}")
        return t

    def units_factor(self, units):
        """What nats are divided by."""
        return self.dimension * math.log(2) if units == "bits" else 1.0

    @property
    def evaluations(self):
        """How many evaluations the record holds."""
        return self.rows("kl")

    def total(self, name, units, row=slice(None)):
        """(value, standard error) of prior, decoder or total, of one or all evaluations."""
        f = self.units_factor(units)
        return self.array(f"kl/{name}")[row] / f, self.array(f"kl/{name}_stderr")[row] / f

    def evaluation(self, step=None, units="bits"):
        """The last evaluation, or the last one made at that step, as Terms."""
        if not self.evaluations:
            raise RunError(self.path, "no evaluation in this record yet (evaluate.every sets how often; "
                                         "`diffx evaluate RUN` writes a file to give here)")
        return Terms(self, "kl", self._row("kl", step, "evaluation"), units)

    def classes(self, step=None, units="bits"):
        """The bound of each class in the last evaluation, or the last one made at that step, as Classes."""
        if not self.evaluations:
            raise RunError(self.path, "no evaluation in this record yet")
        if not self.has("kl/class_total"):
            raise RunError(self.path, "no bounds by class in this record: its data have no labels")
        return Classes(self, self._row("kl", step, "evaluation"), units)

    def window(self, step=None, units="bits"):
        """The terms seen while training, in the last window that has any, or that ended at step."""
        if not self.rows("train_by_t"):
            raise RunError(self.path, "no window of training losses by t in this record yet")
        return Terms(self, "train_by_t", self._row("train_by_t", step, "window"), units)

    def _row(self, group, step, what):
        steps = self.array(f"{group}/step").astype(int)
        if step is None:
            return len(steps) - 1
        rows = np.flatnonzero(steps == step)
        if not len(rows):
            some = [str(s) for s in np.unique(steps)]
            some = ", ".join(some if len(some) <= 8 else some[:3] + ["..."] + some[-3:])
            raise RunError(self.path, f"no {what} at step {step}; there are {some}", USAGE)
        return int(rows[-1])

    def settings(self):
        """{dotted key: text} of the scientific settings."""
        return flatten(self.experiment)

    def weights(self, place):
        """What weights of that place in train.ema are called, with the rate where there are several; 0: raw."""
        rates = self.settings().get("train.ema", "")
        if not place or not rates.startswith("["):
            return "averaged" if place else "raw"
        return f"averaged ({_split(rates[1:-1])[place - 1].strip()})"

    def provenance(self):
        """({name: text}, [{name: value} per session]) of who made the record and where."""
        group = self._h5.get("provenance")
        if group is None:
            return {}, []
        facts = {k: _text(v) for k, v in group.attrs.items()}
        columns = {}
        for name, item in group.items():
            if isinstance(item, h5py.Dataset) and name.startswith("session_"):
                columns[name[len("session_"):]] = [_text(v) if isinstance(v, (bytes, str)) else v
                                                   for v in np.atleast_1d(item[()]).tolist()]
        if "session_host" in facts:
            columns["host"] = facts.pop("session_host").split("\n")
        n = max((len(c) for c in columns.values()), default=0)
        return facts, [{k: c[i] for k, c in columns.items() if i < len(c)} for i in range(n)]


class Classes:
    """One evaluation by class: arrays count, total, stderr (NaN where there are too few examples), and whole, of all.

    names   of the classes, their numbers where the data tell none
    terms   (classes, T) mean terms less those of all examples; None where the file does not have them; t: of these
    """

    def __init__(self, r, row, units):
        f = r.units_factor(units)
        self.record, self.step = r, int(r.array("kl/step")[row])
        self.count = r.array("kl/class_count", r.evaluations, None)[row]
        n = len(self.count)
        self.total, self.stderr = (r.array(f"kl/class_total{s}", r.evaluations, n)[row] / f for s in ("", "_stderr"))
        self.whole = r.total("total", units, row)
        names = _text(r._h5["kl"].attrs.get("class_names", "")).split("\n")
        self.names = names if len(names) == n and n > 1 else [str(c) for c in range(n)]
        self.t, self.terms = r.times("kl"), None
        if r.has("kl/class_vb") and row == r.evaluations - 1:
            vb = r.of_evaluation("kl/class_vb", row, n, len(self.t))
            self.terms = (vb - r.array("kl/vb")[row]) / f


class Examples:
    """One evaluation by example: row (n,) in the test split, total (n,), vb (n, T) or None; NaN where not evaluated."""

    def __init__(self, r, row, units):
        f = r.units_factor(units)
        self.row = r.of_evaluation("kl/example_row", row, None).astype(np.int64)
        if len(np.unique(self.row)) < len(self.row):
            raise RunError(r.path, "kl/example_row names a row twice")
        self.total = r.of_evaluation("kl/example_total", row, len(self.row)) / f
        shape = len(self.row), len(r.times("kl"))
        self.vb = r.of_evaluation("kl/example_vb", row, *shape) / f if r.has("kl/example_vb") else None


def record_path(run):
    """Where the record of a run is: run is its folder or the file itself."""
    if not os.path.exists(run):
        raise RunError(run, "no such run folder or record", IO)
    if not os.path.isdir(run):
        return run
    path = os.path.join(run, "metrics.h5")
    if not os.path.exists(path):
        raise RunError(run, "a folder without metrics.h5: not a run, or one that has not begun", IO)
    return path


def given_names(labels, count):
    """The names in A,B,..., one for each run; None where there are none."""
    names = labels.split(",") if labels else None
    if names and len(names) != count:
        raise RunError("--labels", f"{len(names)} names for {count} runs", USAGE)
    return names


def open_runs(runs, labels=None):
    """Records with labels that tell them apart: the name, else the folder, else name and file, else the path."""
    records = [Run(r) for r in runs]
    names = given_names(labels, len(records))
    if not names:
        paths = [r.folder for r in records]
        choices = ([r.name for r in records], [os.path.basename(os.path.abspath(p)) for p in paths],
                   [f"{r.name} {os.path.splitext(os.path.basename(r.path))[0]}" for r in records], list(runs),
                   [f"{r} ({i + 1})" for i, r in enumerate(runs)])
        names = next(c for c in choices if len(set(c)) == len(c))
    for place, (r, name) in enumerate(zip(records, names)):
        r.label, r.place = name, place
    return records


# --- samples --------------------------------------------------------------

class Samples(_File):
    """RUN/samples/step-NNNNNNNN.h5; x, reference and trajectory in units of the data."""

    def __init__(self, path):
        super().__init__(path, "samples")
        self.name = self.label = self.attr("name", "") or os.path.basename(path)
        self.step = int(self.number("step"))
        self.sampler = self.attr("sampler", "")
        averaged = "averaged" if self.attr("ema", "0") not in ("0", "False") else "raw"
        self.weights = re.sub("^ema-(.*)", r"averaged (\1)", self.attr("weights", averaged))
        self.x = self.array("x", None, None, None, None)
        shape = self.x.shape[1:]
        empty = np.empty((0,) + shape)
        self.reference = self.array("reference", None, *shape) if self.has("reference") else empty
        self.trajectory = (self.array("trajectory", None, None, *shape) if self.has("trajectory") else empty[None][:0])
        self.trajectory_t = self.array("trajectory_t", len(self.trajectory)) if len(self.trajectory) else np.empty(0)


def samples_path(run, step=None):
    """The newest sample file of a run, or the one of a step; run may be the file itself."""
    if not os.path.exists(run):
        raise RunError(run, "no such run folder or sample file", IO)
    if not os.path.isdir(run):
        if os.path.basename(run) != "metrics.h5":
            return run
        run = os.path.dirname(run) or "."
    found = {int(m.group(1)): p for p in glob.glob(os.path.join(glob.escape(run), "samples", "step-*.h5"))
             if (m := re.fullmatch(r"step-(\d+)\.h5", os.path.basename(p)))}
    if not found:
        raise RunError(run, "no samples yet (samples/step-*.h5); `diffx sample RUN` draws some", IO)
    if step is not None and step not in found:
        raise RunError(run, f"no samples of step {step}; there are {', '.join(map(str, sorted(found)))}", USAGE)
    return found[max(found) if step is None else step]


def open_samples(run, step=None):
    return Samples(samples_path(run, step))


# --- settings -------------------------------------------------------------

def _split(text):
    """The items of a flow collection: split at the commas outside brackets and quotes."""
    items, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "[{":
            depth += 1
        elif c in "]}":
            depth -= 1
        elif c == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    return [i.strip() for i in items + [text[start:]] if i.strip()]


def _pair(text):
    m = re.match(r"""\s*(?:-\s+)?["']?([\w.-]+)["']?\s*:(?:\s+(.*))?$""", text)
    return (m.group(1), (m.group(2) or "").strip()) if m else (None, None)


def flatten(text):
    """{dotted key: value as text} of the YAML that diffx writes: maps in block or flow style
    with scalars or lists as leaves. (Full YAML needs a library that may not be there.)"""
    found, above = {}, []

    def put(key, value):
        if value.startswith("{") and value.endswith("}"):
            for item in _split(value[1:-1]):
                name, inner = _pair(item)
                if name:
                    put(f"{key}.{name}", inner)
        elif value:
            found[key] = value.strip("\"'") if not value.startswith("[") else value

    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        if not line or line.startswith(("---", "...")):
            continue
        indent = len(line) - len(line.lstrip())
        above = [a for a in above if a[0] < indent or (a[0] == indent and line.lstrip().startswith("- "))]
        prefix = ".".join(a[1] for a in above)
        name, value = _pair(line)
        if name is None:
            item = line.strip()
            if item.startswith("- ") and prefix:
                found[prefix] = (found[prefix] + ", " if prefix in found else "") + item[2:].strip()
            continue
        key = f"{prefix}.{name}" if prefix else name
        if value:
            put(key, value)
        else:
            above.append((indent, name))
    return found


def differences(records):
    """[(key, [value per record or None])] of the settings that are not the same in all."""
    each = [r.settings() for r in records]
    keys = list(dict.fromkeys(k for s in each for k in s))
    rows = [(k, [s.get(k) for s in each]) for k in keys]
    return [row for row in rows if len(set(row[1])) > 1]


# --- the frame of every script --------------------------------------------

def run_script(main):
    """Call main(arguments); a RunError or a failed write becomes one line and an exit status."""
    name = os.path.basename(sys.argv[0])
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except RunError as e:
        print(f"{name}: {e}", file=sys.stderr)
        sys.exit(e.status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        print(f"{name}: {where}{(e.strerror or str(e)).lower()}", file=sys.stderr)
        sys.exit(IO)


def main(arguments):
    p = argparse.ArgumentParser(description="List every dataset of a record with its shape, unit and description.")
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folder or its metrics.h5")
    for run in p.parse_args(arguments).runs:
        r = Run(run)
        print(f"{r.path}: {r.name}, {r.modality}, dimension {r.dimension}, {r.timesteps} timesteps, "
              f"{r.evaluations} evaluations")
        rows = [(n, "x".join(map(str, s)) or "one", u, d) for n, s, u, d in r.describe()]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        for row in rows:
            print("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths)) + "  " + row[3])


if __name__ == "__main__":
    run_script(main)
