#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where a training's time went (run.profile: true): by kind of layer, and against the roofline of the machine."""
import csv
import os
import re

from diffx_analysis import RunError, figure, record

COLUMNS = ["layer", "kind", "pass", "calls", "seconds", "flops", "bytes", "roof_share"]
HEAD = re.compile(r"# threads (\d+), .* roof of a thread (\S+) flop/s (\S+) byte/s")


def read(path):
    """The roof (flop/s, byte/s) and the rows of a profile.csv or of the run folder that holds one."""
    if os.path.isdir(path):
        path = os.path.join(path, "profile.csv")
    try:
        with open(path, encoding="utf-8", newline="") as f:
            head = HEAD.match(f.readline())
            table = csv.DictReader(f)
            if not head or table.fieldnames != COLUMNS:
                raise RunError(path, "not a profile that diffx wrote with run.profile: true")
            rows = [dict(r, seconds=float(r["seconds"]), flops=float(r["flops"]), bytes=float(r["bytes"])) for r in table]
    except OSError as e:
        raise RunError(path, (e.strerror or str(e)).lower(), record.IO) from None
    except (ValueError, TypeError, UnicodeDecodeError):
        raise RunError(path, "a damaged profile") from None
    return (float(head[2]), float(head[3])), rows


def draw_kinds(ax, rows):
    """Seconds by kind, forward and backward on top of one another, the longest first."""
    sums = {}
    for r in rows:
        sums.setdefault(r["kind"], {"forward": 0.0, "backward": 0.0})[r["pass"]] += r["seconds"]
    kinds = sorted(sums, key=lambda k: sum(sums[k].values()))
    all_seconds = sum(sum(s.values()) for s in sums.values())
    left = [0.0] * len(kinds)
    for i, name in enumerate(("forward", "backward")):
        width = [100 * sums[k][name] / all_seconds for k in kinds]
        ax.barh(kinds, width, left=left, color=figure.COLOURS[i], label=name)
        left = [a + b for a, b in zip(left, width)]
    ax.set_xlabel("share of the passes' time [%]")
    ax.set_title("Where the time goes")
    ax.grid(False, axis="y")
    ax.legend(loc="lower right")


def draw_roof(ax, roof, rows):
    """Rate of each layer over its intensity; a dot's area is its time."""
    rows = [r for r in rows if r["flops"] > 0 and r["bytes"] > 0 and r["seconds"] > 0]
    if not rows:
        return figure.say(ax, "no layer with operations")
    kinds = sorted({r["kind"] for r in rows})
    most = max(r["seconds"] for r in rows)
    for i, kind in enumerate(kinds):
        mine = [r for r in rows if r["kind"] == kind]
        ax.scatter([r["flops"] / r["bytes"] for r in mine], [1e-9 * r["flops"] / r["seconds"] for r in mine],
                   s=[4 + 60 * r["seconds"] / most for r in mine], color=figure.COLOURS[i % len(figure.COLOURS)],
                   marker="osD^vP*"[i % 7], alpha=0.6, linewidth=0, label=kind)
    low, high = (f(r["flops"] / r["bytes"] for r in rows) for f in (min, max))
    x = [low / 2, roof[0] / roof[1], max(2 * high, 2 * roof[0] / roof[1])]
    ax.plot(x, [1e-9 * min(roof[0], v * roof[1]) for v in x], color="black", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GF/s of a thread")
    ax.set_title("Layers under the roof")
    ax.legend(loc="lower right", markerscale=0.8, fontsize=6.5)


def main(arguments):
    p = figure.parser(__doc__, "profile.png", "run folder whose run.profile was true, or its profile.csv")
    a = figure.parse(p, arguments)
    profiles = [read(path) for path in a.runs]
    names = record.given_names(a.labels, len(profiles)) or a.runs
    fig, axes = figure.panels(len(profiles), 2, size=(3.8, 3.0))
    for i, (roof, rows) in enumerate(profiles):
        draw_kinds(axes[2 * i], rows)
        draw_roof(axes[2 * i + 1], roof, rows)
        if len(profiles) > 1:
            axes[2 * i].set_title(f"Where the time goes: {figure.plain(names[i])}")
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
