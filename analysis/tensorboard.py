#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the numbers of runs for TensorBoard: loss, gradient norm, learning rate, speed and the bound by step."""
import argparse
import glob
import os
import time

import numpy as np

from diffx_analysis import RunError, figure, open_runs, record

SUFFIX = ".diffx"  # ends the names of the files that this script wrote, and may replace


def event_writer():
    """TensorBoard's own classes. (This script has its name; the package comes first, see diffx_analysis.py.)"""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise RunError("tensorboard", "this package of Python is not installed (pip install tensorboard)", record.IO) from None
    return EventFileWriter, Event, Summary


def clock(r):
    """A function from steps to seconds since 1970, as far as the record tells."""
    sessions = [s for s in r.provenance()[1] if "start" in s and "step" in s]
    if not sessions or not r.rows("timing"):
        return lambda steps: np.full(len(steps), time.time())
    step, seconds = r.array("timing/step"), r.array("timing/seconds")
    session = np.searchsorted([s["step"] for s in sessions], step, side="left") - 1
    wall = np.array([s["start"] for s in sessions])[np.maximum(session, 0)] + seconds
    return lambda steps: np.interp(steps, step, wall)


def scalars(r, units):
    """[(tag, steps, values)] of all that TensorBoard is to show."""
    found = []
    for group, names in (("train", ("loss", "grad_norm", "rate")), ("timing", ("examples_per_second",))):
        if r.rows(group):
            found += [(f"{group}/{n}", r.array(f"{group}/step"), r.array(f"{group}/{n}")) for n in names]
    if r.evaluations:
        unit = "bits_per_dim" if units == "bits" else "nats"
        for n in ("total", "total_stderr", "decoder", "prior"):
            found.append((f"bound/{n}_{unit}", r.array("kl/step"), r.array(f"kl/{n}") / r.units_factor(units)))
    return found


def write(r, folder, units):
    """One file of events in folder, in place of the one that was there."""
    writer, event, summary = event_writer()
    for old in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*" + SUFFIX)):
        os.remove(old)
    os.makedirs(folder, exist_ok=True)
    out, wall, count = writer(folder, filename_suffix=SUFFIX), clock(r), 0
    for tag, steps, values in scalars(r, units):
        for step, when, value in zip(steps, wall(steps), values):
            number = summary.Value(tag=tag, simple_value=value)
            out.add_event(event(wall_time=when, step=int(step), summary=summary(value=[number])))
        count += len(steps)
    out.close()
    print(f"wrote {folder} ({count} numbers)")


def main(arguments):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folder or its metrics.h5")
    p.add_argument("-o", "--out", default="tensorboard", metavar="FOLDER",
                   help="gets a folder for each run (default tensorboard); look with `tensorboard --logdir FOLDER`")
    p.add_argument("--labels", metavar="A,B,...", help="names of the runs (default: from the records)")
    figure.add_units(p)
    a = p.parse_args(arguments)
    event_writer()
    for r in open_runs(a.runs, a.labels):
        write(r, os.path.join(a.out, r.label.replace(os.sep, "_")), a.units)


if __name__ == "__main__":
    record.run_script(main)
