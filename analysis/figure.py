# SPDX-License-Identifier: Apache-2.0
"""What all figures share: command line, colours, fonts, saving."""
import argparse
import csv
import os

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np

from diffx_analysis import record
from diffx_analysis.record import RunError, USAGE

# Okabe and Ito's colours for every kind of colour vision, the pale yellow left out. Line styles
# change with the colour, so that overlaid runs differ in grey print too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINES = ["-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), "-"]
GREY = "#777777"

ENDINGS = ("png", "pdf", "svg")
UNIT_NAMES = {"bits": "bits/dim", "nats": "nats"}
PANEL = (3.5, 2.7)  # inches of one panel: the column of a paper, the width of a phone

STYLE = {
    "font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9.5, "legend.fontsize": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.grid": True, "grid.color": "#e2e2e2", "grid.linewidth": 0.5, "axes.axisbelow": True,
    "lines.linewidth": 1.3, "legend.frameon": False, "legend.handlelength": 2.2,
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.08, "savefig.dpi": 200,
    "pdf.fonttype": 42, "svg.hashsalt": "diffx",  # text stays text in a PDF; equal input, equal SVG
}


def use_style():
    """The looks of the figures; in a notebook it is up to the caller."""
    plt.rcParams.update(STYLE)


def run_script(main):
    """The frame of a script that draws: to files alone, no window."""
    matplotlib.use("Agg")
    use_style()
    record.run_script(main)


def parser(description, out, runs="run folder, its metrics.h5, or a file that `diffx evaluate` wrote"):
    """The options that every figure has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("runs", nargs="+", metavar="RUN", help=runs)
    p.add_argument("-o", "--out", action="append", metavar="FILE",
                   help=f"file to write, its ending tells the format: {', '.join(ENDINGS)} (default {out}); may be given again")
    p.set_defaults(default_out=out)
    p.add_argument("--labels", metavar="A,B,...", help="names of the runs in the figure (default: from the records)")
    p.add_argument("--dpi", type=float, default=200, help="dots per inch of a png (default 200)")
    return p


def add_units(p):
    p.add_argument("--units", choices=list(UNIT_NAMES), default="bits",
                   help="bits: bits per dimension (default); nats: nats per example")


def add_band(p):
    p.add_argument("--band", type=float, default=1.0, metavar="K",
                   help="bands and bars of K standard errors (default 1; 1.96: 95 %% confidence)")


def add_step(p, what):
    p.add_argument("--step", type=int, help=f"the {what} of this step (default: the last)")


def add_csv(p, what):
    p.add_argument("--csv", metavar="FILE", help=f"write {what} as a table too")


def _ending(path):
    return os.path.splitext(path)[1].lower().lstrip(".")


def check_out(path, endings=ENDINGS):
    """Refuse a name whose ending is not known before any work is done."""
    if _ending(path) not in endings:
        raise RunError(path, f"the name must end in .{', .'.join(endings)}", USAGE)


def parse(p, arguments):
    """The arguments of a script that draws."""
    a = p.parse_args(arguments)
    a.out = a.out or [a.default_out]
    for path in a.out:
        check_out(path)
    if not getattr(a, "band", 1.0) > 0:
        p.error("--band must be above 0")
    return a


def save(fig, paths, dpi=200):
    """Write a figure to each of the files; the same figure gives the same bytes."""
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    for path in paths:
        fig.savefig(path, format=_ending(path), dpi=dpi, metadata=dates[_ending(path)])
        print(f"wrote {path}")
    plt.close(fig)


def write_csv(path, head, rows):
    """A table as CSV: floats with nine digits, empty where there is no number."""
    with open(path, "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(head)
        for row in rows:
            w.writerow([v if not isinstance(v, (float, np.floating)) else f"{v:.9g}" if np.isfinite(v) else "" for v in row])
    print(f"wrote {path}")


def panels(rows, columns, size=PANEL, **more):
    """A figure and its axes as a flat list."""
    fig, axes = plt.subplots(rows, columns, figsize=(columns * size[0], rows * size[1]), squeeze=False, **more)
    return fig, list(axes.flat)


def look(i):
    """Colour and line style of the run in place i."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}


def plain(label):
    """A label that mathtext and the legend leave alone."""
    text = str(label).replace("\\", "\\\\").replace("$", r"\$")
    return " " + text if text.startswith("_") else text


def legend(ax, count):
    """A legend where there is more than one run to tell apart."""
    if count > 1 and ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", handlelength=3)


def errors(band):
    """The half-width of a band in words."""
    return f"± {band:g} standard error" + ("s" if band != 1 else "")


def log_axis(axis):
    """A log scale whose numbers are plain where they are short, and enough where it spans few decades."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    if 1e-4 < low < high < 1e5:
        steps = (1,) if high > 300 * low else (1, 2, 5) if high > 8 * low else range(1, 10)
        axis.set_major_locator(matplotlib.ticker.LogLocator(subs=steps))
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def say(ax, text):
    """An empty panel says why it is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def pm(value, error=None):
    """A number with its standard error: as many digits as the error supports."""
    if value is None or not np.isfinite(value):
        return "–"
    if error is None or not np.isfinite(error) or error <= 0:
        return _power(f"{value:.4g}")
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    if digits <= 6:
        return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")
    power = int(np.floor(np.log10(max(abs(value), error))))
    digits = min(9, max(0, digits + power))
    value, error = value / 10.0 ** power, error / 10.0 ** power
    return _power(f"({value:.{digits}f} ± {error:.{digits}f})e{power}")


def _power(text):
    head, e, tail = text.partition("e")
    head = head.replace("-", "−")
    return f"{head} × 10{str(int(tail)).translate(SUPERSCRIPT)}" if e else head


def pm_ascii(value, error=None):
    """The same for terminals and files: plain numbers."""
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.5g}" + (f" +- {error:.2g}" if error is not None and np.isfinite(error) else "")
