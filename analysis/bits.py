#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws where the bits go: what each stretch of t costs, and the sum of the bound from T down to t.

The left panel shows t times L_{t-1}: over the logarithm of t equal areas are equal bits. The sum starts with the
prior and ends at t = 1 with the decoder term, so at the bound itself, drawn with its standard error. The sum has a band where the file holds the terms of single examples (terms share their examples, so
their errors do not just add up).
"""
import numpy as np

from diffx_analysis import figure, open_runs
from diffx_analysis.figure import UNIT_NAMES


def mean_error(d):
    """(mean, standard error) of the finite numbers of each column; NaN where there are none, or fewer than two."""
    there = np.isfinite(d)
    n = there.sum(axis=0)
    mean = np.where(n > 0, np.where(there, d, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)
    square = np.where(there, (d - mean) ** 2, 0.0).sum(axis=0)
    return mean, np.where(n > 1, np.sqrt(square / np.maximum(n - 1, 1) / np.maximum(n, 1)), np.nan)


def from_the_end(vb):
    """Sums over the last axis from T down to t."""
    return np.cumsum(vb[..., ::-1], axis=-1)[..., ::-1]


def running(k):
    """(T,) prior and terms of all steps s >= t; at t = 1 with the decoder term. Missing terms are interpolated."""
    sums = k.rate().copy()
    sums[0] += k.decoder[0]
    return sums


class Bits:
    """The terms of one evaluation and their sums, as they are drawn here."""

    def __init__(self, k):
        self.run, self.name, self.step, self.units = k.record, k.record.label, k.step, k.units
        self.t, self.total = k.t, k.total
        self.k, self.term, self.stderr, self.running = k, k.term, k.stderr, running(k)
        self.running_stderr = np.full(len(k.t), np.nan)
        each = k.by_example()
        if each is not None and each.vb is not None and np.isfinite(each.vb).all():
            self.running_stderr = mean_error(from_the_end(each.vb))[1]


def _band(ax, row, y, e, width=None):
    look, there = figure.look(row.run.place), np.isfinite(y)
    ax.plot(row.t[there], y[there], label=figure.plain(row.name), linewidth=width, **look)
    ax.fill_between(row.t[there], (y - e)[there], (y + e)[there], color=look["color"], alpha=0.22, linewidth=0)


def draw_density(ax, rows, name="L_{t-1}", band=1.0):
    for row in rows:
        width = np.diff(row.t, prepend=0)  # steps of 1..T that one of a grid goes over
        y, e = np.where(np.arange(len(row.t)) > 0, row.t * row.term / width, np.nan), band * row.t * row.stderr / width
        _band(ax, row, y, e, 0.8 if len(row.t) > 200 else None)
    figure.log_axis(ax.xaxis)
    ax.set_xlabel("timestep $t$")
    ax.set_ylabel(f"$t\\,{name}$ [{UNIT_NAMES[rows[0].units]}]")
    ax.set_title("Where the bits go: equal areas, equal bits")
    figure.legend(ax, len(rows))


def draw_running(ax, rows, name="bound", band=1.0):
    for row in rows:
        _band(ax, row, row.running, band * row.running_stderr)
        ax.errorbar([1], [row.total[0]], yerr=[band * np.nan_to_num(row.total[1])], fmt="o", markersize=3, capsize=2,
                    elinewidth=0.9, color=figure.look(row.run.place)["color"])
    figure.log_axis(ax.xaxis)
    ax.set_xlabel("timestep $t$")
    ax.set_ylabel(f"{name}, $T$ to $t$ [{UNIT_NAMES[rows[0].units]}]")
    ax.set_title("Sum from $T$ down to $t$ (at 1: with $L_0$)")
    figure.legend(ax, len(rows))


def write_csv(path, rows):
    units = rows[0].units
    head = ["run", "step", "t"] + [f"{n}_{units}" for n in ("term", "stderr", "running", "running_stderr")]
    figure.write_csv(path, head,
                     ([b.name, b.step, int(t), b.term[i], b.stderr[i], b.running[i], b.running_stderr[i]]
                      for b in rows for i, t in enumerate(b.t)))


def parts(k):
    """[(what, value)] that add up to the bound: prior, the powers of ten of t, decoder."""
    names = [("prior L_T" if first is None else f"t = {first}..{last}", value) for first, last, value in k.shares()]
    return names[-1:] + names[-2::-1] + [("decoder L_0", k.decoder[0])]


def say(b):
    unit = UNIT_NAMES[b.units]
    print(f"{b.name}, step {b.step}: {figure.pm_ascii(*b.total)} {unit}")
    so_far = 0.0
    for name, value in parts(b.k):
        so_far += value
        print(f"  {name:<14} {value:10.5f}  sum {so_far:10.5f}")
    if b.k.missing:
        print(f"  {b.k.missing} of {len(b.t) - 1} KL terms were not evaluated; sums interpolate them")


def main(arguments):
    p = figure.parser(__doc__.split("\n\n")[0], "bits.png")
    p.epilog = " ".join(__doc__.split("\n\n")[1].split())
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    figure.add_band(p)
    figure.add_csv(p, "terms and sums")
    a = figure.parse(p, arguments)
    rows = [Bits(r.evaluation(a.step, a.units)) for r in open_runs(a.runs, a.labels)]

    for b in rows:
        say(b)
    if a.csv:
        write_csv(a.csv, rows)
    fig, axes = figure.panels(1, 2)
    draw_density(axes[0], rows, band=a.band)
    draw_running(axes[1], rows, band=a.band)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
