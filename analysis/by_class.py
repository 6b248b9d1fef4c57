#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which classes cost more: the variational bound of each class with its standard error, in order of the first run's."""
import numpy as np

from diffx_analysis import RunError, figure, open_runs


def draw(ax, classes, units):
    order = np.argsort(np.where(np.isfinite(classes[0].total), classes[0].total, np.inf), kind="stable")
    order = order[np.any([k.count[order] > 0 for k in classes], axis=0)]
    for j, k in enumerate(classes):
        look = figure.look(k.record.place)
        shift = 0.25 * (j - (len(classes) - 1) / 2) / max(1, len(classes) - 1)
        ax.errorbar(np.arange(len(order)) + shift, k.total[order], yerr=np.nan_to_num(k.stderr[order]),
                    fmt="osD^vPX"[k.record.place % 7], markersize=3.5, capsize=2, elinewidth=0.9, color=look["color"],
                    label=figure.plain(k.record.label))
        ax.axhline(k.whole[0], color=look["color"], linestyle=look["linestyle"], linewidth=0.7)
    ax.set_xticks(range(len(order)), [str(c) for c in order])
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.set_xlabel("class (line: all)")
    ax.set_ylabel(f"$-\\log p(x_0) \\leq$ [{figure.UNIT_NAMES[units]}]")
    ax.grid(False, axis="x")
    figure.legend(ax, len(classes))


def say(k, units):
    print(f"{k.record.label}, step {k.step}: {k.whole[0]:.4f} +- {k.whole[1]:.4f} {figure.UNIT_NAMES[units]}")
    for c, (n, total, stderr) in enumerate(zip(k.count, k.total, k.stderr)):
        if n > 0:
            print(f"  class {c:<4} {total:10.4f} +- {stderr:.4f}  {n:.0f} examples")


def write_csv(path, classes, units):
    figure.write_csv(path, ["run", "step", "class", "examples", f"total_{units}", f"stderr_{units}"],
                     ([k.record.label, k.step, c, int(k.count[c]), k.total[c], k.stderr[c]]
                      for k in classes for c in range(len(k.count))))


def main(arguments):
    p = figure.parser(__doc__, "by_class.png")
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    figure.add_csv(p, "the classes")
    a = figure.parse(p, arguments)
    records = open_runs(a.runs, a.labels)
    classes = [r.classes(a.step, a.units) for r in records]
    for k in classes:
        if len(k.total) != len(classes[0].total):
            raise RunError(k.record.path, f"has {len(k.total)} classes, {classes[0].record.path} has {len(classes[0].total)}")
    for k in classes:
        say(k, a.units)
    if a.csv:
        write_csv(a.csv, classes, a.units)
    fig, axes = figure.panels(1, 1, (4.4, 2.8))
    draw(axes[0], classes, a.units)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
