#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which classes cost more: the variational bound of each class with its standard error, in order of the first run's; and, where
its file has the terms of the classes (`diffx evaluate` writes them), at which t."""
import numpy as np

from diffx_analysis import RunError, bits, figure, open_runs


def in_order(classes):
    """Those that any run has examples of, the cheapest of the first run first."""
    order = np.argsort(np.where(np.isfinite(classes[0].total), classes[0].total, np.inf), kind="stable")
    return order[np.any([k.count[order] > 0 for k in classes], axis=0)]


def draw(ax, classes, units):
    order = in_order(classes)
    for j, k in enumerate(classes):
        look = figure.look(k.record.place)
        shift = 0.25 * (j - (len(classes) - 1) / 2) / max(1, len(classes) - 1)
        ax.errorbar(np.arange(len(order)) + shift, k.total[order], yerr=np.nan_to_num(k.stderr[order]),
                    fmt="osD^vPX"[k.record.place % 7], markersize=3.5, capsize=2, elinewidth=0.9, color=look["color"],
                    label=figure.plain(k.record.label))
        ax.axhline(k.whole[0], color=look["color"], linestyle=look["linestyle"], linewidth=0.7)
    names = [figure.plain(classes[0].names[c]) for c in order]
    slant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, names)) > 40 else {}
    ax.set_xticks(range(len(order)), names, **slant)
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.set_xlabel("class (line: all)")
    ax.set_ylabel(f"$-\\log p(x_0) \\leq$ [{figure.UNIT_NAMES[units]}]")
    ax.grid(False, axis="x")
    figure.legend(ax, len(classes))


def has_terms(k):
    """Whether the terms of the classes are there, at every t."""
    return k.terms is not None and np.isfinite(k.terms[k.count > 0]).all()


def draw_terms(ax, k, units):
    """What the dearest and the cheapest classes cost more than all, summed from T down to t."""
    order = in_order([k])
    shown = order if len(order) <= 6 else np.concatenate([order[:3], order[-3:]])
    ax.axhline(0.0, color=figure.GREY, linewidth=0.8)
    for place, c in enumerate(shown):
        ax.plot(k.t, bits.from_the_end(k.terms[c]), label=figure.plain(k.names[c]), **figure.look(place))
    figure.log_axis(ax.xaxis)
    ax.set_xlabel("timestep $t$")
    ax.set_ylabel(f"class less all, $T$ to $t$ [{figure.UNIT_NAMES[units]}]")
    ax.set_title(f"{figure.plain(k.record.label)}: where a class costs more")
    ax.legend(loc="upper right", ncol=2, handlelength=3)      # at T all are 0


def say(k, units):
    print(f"{k.record.label}, step {k.step}: {k.whole[0]:.4f} +- {k.whole[1]:.4f} {figure.UNIT_NAMES[units]}")
    for c, (n, total, stderr) in enumerate(zip(k.count, k.total, k.stderr)):
        if n > 0:
            print(f"  class {k.names[c]:<4} {total:10.4f} +- {stderr:.4f}  {n:.0f} examples")


def write_csv(path, classes, units):
    figure.write_csv(path, ["run", "step", "class", "name", "examples", f"total_{units}", f"stderr_{units}"],
                     ([k.record.label, k.step, c, k.names[c], int(k.count[c]), k.total[c], k.stderr[c]]
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
    fig, axes = figure.panels(1, 1 + has_terms(classes[0]), (4.4, 2.8))
    draw(axes[0], classes, a.units)
    if has_terms(classes[0]):
        draw_terms(axes[1], classes[0], a.units)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
