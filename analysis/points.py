#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws samples of points over the data, or the reverse process that made them."""
import os

import numpy as np

from diffx_analysis import RunError, figure, open_samples, record


def flat(s, x, axes):
    """(..., 2) the two coordinates that are drawn."""
    values = x.reshape(x.shape[:-3] + (-1,))
    if s.attr("modality", "points") != "points":
        raise RunError(s.path, f"the samples are {s.attr('modality')} of {s.x.shape[1:]}; points are wanted")
    if max(axes) >= values.shape[-1]:
        raise RunError(s.path, f"a point has {values.shape[-1]} coordinates, {max(axes)} (counted from 0) is wanted",
                          record.USAGE)
    return values[..., axes]


def window(points):
    """Limits that hold all but stray points: the middle 99 % and a margin, square."""
    p = points[np.isfinite(points).all(axis=1)]
    if not len(p):
        return (-1, 1), (-1, 1)
    low, high = np.percentile(p, [0.5, 99.5], axis=0)
    half = 0.62 * max((high - low).max(), 1e-12)
    middle = (low + high) / 2
    return (middle[0] - half, middle[0] + half), (middle[1] - half, middle[1] + half)


def _frame(ax, limits):
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    ax.set_aspect("equal")


def _outside(ax, points, limits, few=0.0):
    """How many are not in the picture is said in it, if more than that part."""
    seen = ((points[:, 0] >= limits[0][0]) & (points[:, 0] <= limits[0][1])
            & (points[:, 1] >= limits[1][0]) & (points[:, 1] <= limits[1][1]))
    n = len(points) - int(seen.sum())
    if n > few * len(points):
        ax.text(0.98, 0.02, f"{n} of {len(points)} outside", transform=ax.transAxes, ha="right", va="bottom",
                fontsize=7, color="#444444", bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1})


def draw_scatter(ax, s, axes=(0, 1), colour=figure.COLOURS[0], limits=None):
    """Samples over rows of the test split."""
    x, reference = flat(s, s.x, axes), flat(s, s.reference, axes)
    limits = limits or window(reference if len(reference) else x)
    size = 4.5 * min(1.0, (1500 / max(len(x), 1)) ** 0.5)
    if len(reference):
        ax.scatter(*reference.T, s=2.2 * size, color="#b4b4b4", linewidths=0, label="data")
    ax.scatter(*x.T, s=size, color=colour, alpha=0.7, linewidths=0, label="samples")
    _frame(ax, limits)
    _outside(ax, x, limits)
    ax.set_title(f"{figure.plain(s.label)}, step {s.step}")
    ax.legend(loc="upper right", handletextpad=0.1, borderaxespad=0.1, markerscale=1.8, handlelength=1.2,
              frameon=True, framealpha=0.85, edgecolor="none")


def pick(count, wanted):
    """Which of count snapshots to show: the first, the last and evenly between."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def trajectory_window(all_samples, axes=(0, 1)):
    """Limits that hold the noise at the start and the data (where not kept, the points at the end) of all."""
    ends = []
    for s in all_samples:
        end = s.reference if len(s.reference) else s.trajectory[np.argmin(s.trajectory_t)]
        ends += [flat(s, s.trajectory[np.argmax(s.trajectory_t)], axes), flat(s, end, axes)]
    return window(np.concatenate(ends))


def draw_trajectory(panels, s, limits, axes=(0, 1), colour=figure.COLOURS[0], wanted=None):
    """Snapshots x_t in order of the reverse process, all in the same window; wanted: how many, else one a panel."""
    path, order = flat(s, s.trajectory, axes), np.argsort(-s.trajectory_t, kind="stable")
    shown = [order[i] for i in pick(len(order), wanted or len(panels))]
    for ax, k in zip(panels, shown):
        size = 4.0 * min(1.0, (1500 / max(len(path[k]), 1)) ** 0.5)
        ax.scatter(*path[k].T, s=size, color=colour, alpha=0.7, linewidths=0)
        _frame(ax, limits)
        _outside(ax, path[k], limits, 0.03)
        ax.label_outer()
        ax.set_title(f"$t$ = {s.trajectory_t[k]:.0f}")
    for ax in panels[len(shown):]:
        ax.set_axis_off()


def label_rows(all_samples, labels, runs):
    """Names that tell the sample files apart."""
    names = labels.split(",") if labels else [s.label for s in all_samples]
    if len(names) != len(all_samples):
        raise RunError("--labels", f"{len(names)} names for {len(all_samples)} runs", record.USAGE)
    if len(set(names)) < len(names) and not labels:
        names = [os.path.basename(os.path.normpath(r)) for r in runs]
    for s, name in zip(all_samples, names):
        s.label = name


def main(arguments):
    p = figure.parser(__doc__, "points.png", "run folder or a file of its samples/")
    figure.add_step(p, "samples")
    p.add_argument("--trajectory", action="store_true", help="the reverse process in panels, a row per run")
    p.add_argument("--panels", type=int, default=6, help="panels of a row of --trajectory (default 6)")
    p.add_argument("--axes", default="0,1", metavar="I,J", help="coordinates to draw, counted from 0 (default 0,1)")
    a = figure.parse(p, arguments)
    axes = [int(i) for i in a.axes.split(",") if i.strip().isdigit()]
    if len(axes) != 2:
        p.error("--axes wants two numbers, as 0,1")
    if a.panels < 2:
        p.error("--panels must be at least 2")
    samples = [open_samples(r, a.step) for r in a.runs]
    label_rows(samples, a.labels, a.runs)

    if a.trajectory:
        for s in samples:
            if not len(s.trajectory):
                raise RunError(s.path, "no trajectory in these samples (sample.trajectory sets how many snapshots)")
        columns = min(a.panels, max(len(s.trajectory) for s in samples))
        fig, panels = figure.panels(len(samples), columns, (1.6, 1.8))
        limits = trajectory_window(samples, axes)
        for i, s in enumerate(samples):
            row = panels[i * columns:(i + 1) * columns]
            draw_trajectory(row, s, limits, axes, figure.look(i)["color"])
            if len(samples) > 1:
                row[0].set_ylabel(figure.plain(s.label))
    else:
        columns = min(len(samples), 3)
        fig, panels = figure.panels(-(-len(samples) // columns), columns, (3.5, 3.6))
        reference = np.concatenate([flat(s, s.reference, axes) for s in samples])
        limits = window(reference) if len(reference) else None
        for ax in panels[len(samples):]:
            ax.set_axis_off()
        for i, (ax, s) in enumerate(zip(panels, samples)):
            draw_scatter(ax, s, axes, figure.look(i)["color"], limits)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
