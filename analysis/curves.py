#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws how a training went: loss, gradient norm, learning rate, and the bound with its standard error."""
import numpy as np

from diffx_analysis import RunError, figure, open_runs
from diffx_analysis.figure import UNIT_NAMES


def smooth(y, width):
    """Running mean over width rows, shorter at the ends; NaN rows are left out."""
    there = np.isfinite(y)
    total = np.cumsum(np.append(0.0, np.where(there, y, 0.0)))
    count = np.cumsum(np.append(0, there))
    i = np.arange(len(y))
    lo, hi = np.maximum(i - width // 2, 0), np.minimum(i + width // 2 + 1, len(y))
    n = count[hi] - count[lo]
    return np.where(there & (n > 0), (total[hi] - total[lo]) / np.maximum(n, 1), np.nan)


def draw_rows(ax, records, name, ylabel, title, log, width=None):
    """One column of the group train over the steps; raw values pale, their running mean on top."""
    positive, bad = True, 0
    for r in records:
        step, y = r.array("train/step"), r.array(f"train/{name}")
        w = len(y) // 40 if width is None else width
        look = figure.look(r.place)
        if w > 1:
            ax.plot(step, y, color=look["color"], alpha=0.3, linewidth=0.6)
        ax.plot(step, smooth(y, w) if w > 1 else y, label=figure.plain(r.label), **look)
        finite = y[np.isfinite(y)]
        positive = positive and len(finite) > 0 and (finite > 0).all()
        bad += len(y) - len(finite)
    if log and positive:
        figure.log_axis(ax.yaxis)
    if bad:
        ax.text(0.98, 0.98, f"{bad} rows not finite", transform=ax.transAxes, ha="right", va="top", color=figure.COLOURS[1])
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.set_title(title)
    figure.legend(ax, len(records))


def draw_loss(ax, records, width=None):
    draw_rows(ax, records, "loss", "loss", "Training loss", True, width)


def draw_grad_norm(ax, records, width=None):
    draw_rows(ax, records, "grad_norm", "norm before clipping", "Gradient norm", True, width)


def draw_rate(ax, records):
    draw_rows(ax, records, "rate", "learning rate", "Learning rate", False, 1)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")


def _top(values):
    """Where to cut the axis: an untrained network's bound can hide all that comes later."""
    later = np.concatenate([v[len(v) // 2:] for v in values])
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    span = later.max() - min(low, later.min())
    return later.max() + 0.9 * span if span > 0 and high - low > 30 * span else None


def draw_totals(ax, records, units):
    """The variational bound of every evaluation with bars of one standard error."""
    rows = []
    for r in records:
        if r.evaluations:
            step, (y, e) = r.array("kl/step"), r.total("total", units)
            there = np.isfinite(y)
            rows.append((r, step[there], y[there], np.nan_to_num(e[there])))
    rows = [row for row in rows if len(row[2])]
    ax.set_title("Variational bound on the test split")
    if not rows:
        return figure.say(ax, "no evaluation in the record")
    top = _top([row[2] for row in rows])
    for i, (r, step, y, e) in enumerate(rows):
        look = figure.look(r.place)
        if step.max() == 0 and not r.rows("train"):  # nothing is trained: the same at every step
            ax.axhline(y[-1], label=figure.plain(r.label), **look)
            ax.axhspan(y[-1] - e[-1], y[-1] + e[-1], color=look["color"], alpha=0.2, linewidth=0)
            continue
        ax.errorbar(step, y, yerr=e, capsize=2, marker="o", markersize=3, elinewidth=0.9,
                    label=figure.plain(r.label), **look)
        if top is not None:
            above = y > top
            ax.plot(step[above], np.full(above.sum(), top), marker="^", linestyle="none", color=look["color"], clip_on=False)
            if above.any():  # the highest alone has its value: more would overlap
                ax.annotate(f"{y[above].max():.3g}", (step[above][0], top), xytext=(5, -1 - 8 * i),
                            textcoords="offset points", fontsize=7, va="top", color=look["color"])
    if top is not None:
        ax.set_ylim(top=top)
    ax.set_xlim(left=0)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel("step")
    ax.set_ylabel(f"$-\\log p(x_0) \\leq$ [{UNIT_NAMES[units]}]")
    figure.legend(ax, len(records))


def write_csv(path, records, units):
    """One number a row: those of the training by step, then the bounds of the evaluations."""
    def rows(r):
        for name in ("loss", "grad_norm", "rate") if r.rows("train") else ():
            for step, value in zip(r.array("train/step"), r.array(f"train/{name}")):
                yield [r.label, int(step), name, value, ""]
        if r.evaluations:
            for step, value, error in zip(r.array("kl/step"), *r.total("total", units)):
                yield [r.label, int(step), f"total_{units}", value, error]

    figure.write_csv(path, ["run", "step", "quantity", "value", "stderr"], (row for r in records for row in rows(r)))


def main(arguments):
    p = figure.parser(__doc__, "curves.png")
    figure.add_units(p)
    p.add_argument("--smooth", type=int, metavar="ROWS",
                   help="rows in the running mean of loss and gradient norm (default: a fortieth of the rows; 1: none)")
    figure.add_csv(p, "the curves")
    a = figure.parse(p, arguments)
    records = open_runs(a.runs, a.labels)
    trained = [r for r in records if r.rows("train")]  # of the others (model.kind: exact) the bound alone is drawn
    if not trained:
        raise RunError(records[0].path, "no row of training in this record yet")

    if a.csv:
        write_csv(a.csv, records, a.units)
    fig, axes = figure.panels(2, 2)
    draw_loss(axes[0], trained, a.smooth)
    draw_grad_norm(axes[1], trained, a.smooth)
    draw_rate(axes[2], trained)
    draw_totals(axes[3], records, a.units)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
