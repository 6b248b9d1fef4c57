#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws how the terms of the bound of runs differ from those of the first, with bands of standard errors.

Where both files hold the results of single examples (`diffx evaluate` writes them), the same examples are compared
one by one: what they have in common, mostly how hard they are, cancels, and the standard error is that of the mean
of the differences. Without them the two errors add up as if each run had been evaluated on examples of its own: the
bands are wider than the difference deserves.
"""
import numpy as np

from diffx_analysis import RunError, bits, figure, open_runs
from diffx_analysis.figure import UNIT_NAMES


class Difference:
    """What an evaluation costs more than another one of the same data (both Terms): k - reference.

    total          (difference, standard error)
    pairs          examples of both, compared one by one; 0: the two errors were added (unpaired)
    term, stderr   (T,) of the terms; None where the runs differ in their t; by_t: whether these were compared one by one
    running        (T,) sum of prior and terms from T down to t, at t = 1 with L_0; running_stderr: NaN if unknown
    """

    def __init__(self, k, reference):
        _same_data(k, reference)
        self.run, self.reference, self.units, self.t = k.record, reference.record, k.units, k.t
        self.name = f"{self.run.label} − {self.reference.label}"
        each = [t.by_example() for t in (k, reference)]
        self.without = [t.record.label for t, e in zip((k, reference), each) if e is None]
        self.unpaired = float(np.hypot(k.total[1], reference.total[1]))
        self.total, self.pairs, rows = (float(k.total[0] - reference.total[0]), self.unpaired), 0, None
        if not self.without:
            rows = self._common_rows(*each)
            self.pairs = len(rows[0])
            self.total = tuple(float(v) for v in bits.mean_error(each[0].total[rows[0]] - each[1].total[rows[1]]))
        same = np.array_equal(k.t, reference.t)
        self.by_t = rows is not None and same and all(e.vb is not None for e in each)
        self.term = self.stderr = self.running = self.running_stderr = None
        if same:
            self._added(k, reference)
        if self.by_t:
            self._paired(each[0].vb[rows[0]] - each[1].vb[rows[1]], k.prior[0] - reference.prior[0])

    def _common_rows(self, each, other):
        """Where the rows that both have stand in each."""
        _, mine, theirs = np.intersect1d(each.row, other.row, assume_unique=True, return_indices=True)
        if len(mine) < 2:
            raise RunError(self.run.path, f"has {len(mine)} of its {len(each.row)} examples in common with "
                                          f"{self.reference.path}: evaluate both on the same rows")
        return mine, theirs

    def _added(self, k, reference):
        self.term, self.stderr = k.term - reference.term, np.hypot(k.stderr, reference.stderr)
        self.running, self.running_stderr = bits.running(k) - bits.running(reference), np.full(len(k.t), np.nan)

    def _paired(self, d, prior):
        self.term, self.stderr = bits.mean_error(d)
        if np.isfinite(d).all():
            sums, self.running_stderr = bits.mean_error(bits.from_the_end(d))
            self.running = prior + sums

    def words(self):
        """How the error was found."""
        if self.pairs:
            return f"paired over {self.pairs} examples"
        return f"not paired, so wide: no results of single examples, as diffx evaluate writes, in {', '.join(self.without)}"


def _same_data(k, reference):
    a, b = (t.record.attr("dataset_hash", "none") for t in (k, reference))
    if a != b:
        raise RunError(k.record.path, f"was made on other data (dataset_hash {a}) than {reference.record.path} ({b}): "
                                      "their bounds cannot be compared")


def differences(terms):
    """Each but the first against the first."""
    return [Difference(k, terms[0]) for k in terms[1:]]


def _draw(ax, draw, found, name, band):
    shown = [d for d in found if d.term is not None]
    if not shown:
        return figure.say(ax, "other t: only totals compare")
    ax.axhline(0.0, color=figure.GREY, linewidth=0.8)
    draw(ax, shown, name, band)
    figure.legend(ax, len(shown) + 1)


def draw_terms(ax, found, band=1.0):
    _draw(ax, bits.draw_density, found, "\\Delta L_{t-1}", band)
    ax.set_title("Difference of the KL terms: area is bits")


def draw_running(ax, found, band=1.0):
    _draw(ax, bits.draw_running, found, "difference", band)


def summary(d):
    """One line for a figure."""
    terms = "; terms by t not paired" if d.pairs and not d.by_t else ""
    return f"{figure.plain(d.name)}: {figure.pm(*d.total)} {UNIT_NAMES[d.units]}, {figure.plain(d.words())}{terms}"


def say(d):
    print(f"{d.run.label} - {d.reference.label}: {figure.pm_ascii(*d.total)} {UNIT_NAMES[d.units]} ({d.words()})")
    if d.pairs and d.total[1] > 0:
        print(f"  {abs(d.total[0]) / d.total[1]:.1f} standard errors; without pairs the error would be {d.unpaired:.2g}")
    if d.term is None:
        print("  bounds of processes with other steps: only the totals compare")
    elif d.pairs and not d.by_t:
        print("  the terms by t are not paired, so wide: kl/example_vb is not in both files (evaluate.per_example=terms)")


def write_csv(path, found):
    units = found[0].units

    def rows(d):
        names = [d.run.label, d.reference.label]
        yield names + ["total", d.total[0], d.total[1], "", "", d.pairs]
        if d.term is not None:
            for i, t in enumerate(d.t):
                yield names + [int(t), d.term[i], d.stderr[i], d.running[i], d.running_stderr[i], d.pairs if d.by_t else 0]

    head = [f"{n}_{units}" for n in ("difference", "stderr", "running", "running_stderr")]
    figure.write_csv(path, ["run", "reference", "t"] + head + ["pairs"], (row for d in found for row in rows(d)))


def main(arguments):
    p = figure.parser(__doc__.split("\n\n")[0], "difference.png")
    p.epilog = " ".join(__doc__.split("\n\n")[1].split())
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    figure.add_band(p)
    figure.add_csv(p, "the differences")
    a = figure.parse(p, arguments)
    if len(a.runs) < 2:
        p.error("at least two runs are wanted: the first is what the others are compared with")
    found = differences([r.evaluation(a.step, a.units) for r in open_runs(a.runs, a.labels)])

    for d in found:
        say(d)
    if a.csv:
        write_csv(a.csv, found)
    fig, axes = figure.panels(1, 2, (figure.PANEL[0], figure.PANEL[1] + 0.14 * len(found)))
    draw_terms(axes[0], found, a.band)
    draw_running(axes[1], found, a.band)
    fig.supxlabel("\n".join(summary(d) for d in found), fontsize=7.5, x=0.01, ha="left")
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
