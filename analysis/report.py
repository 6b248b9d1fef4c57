#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts one or several runs in one HTML page that needs nothing else: results, figures, settings, provenance."""
import argparse
import base64
import datetime
import glob
import html
import io
import os
import re

import numpy as np

from diffx_analysis import (RunError, bits, by_class, curves, difference, figure, kl, open_runs, open_samples, points,
                            rate_distortion, record, schedule)
from diffx_analysis.figure import UNIT_NAMES, pm

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1rem; color: #1b1b1b; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ddd; }
p { max-width: 46rem; margin: .5rem 0; }
nav a { margin-right: .9rem; white-space: nowrap; }
a { color: #00558c; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid #e2e2e2; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #999; }
tbody th { font-weight: 500; position: sticky; left: 0; background: #fff; min-width: 6.5rem; }
caption { text-align: left; font-weight: 700; padding: .3rem .7rem; }
.side { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.side tbody th { min-width: 0; text-align: right; }
.side thead th { white-space: nowrap; }
sub { line-height: 0; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.main td, tr.main th { font-weight: 700; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1.2rem;
  margin: 1rem 0; }
.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; }
figure img { width: 100%; max-width: 34rem; height: auto; display: block; }
figcaption { font-size: .86rem; color: #444; max-width: 34rem; }
.note { border-left: 4px solid #D55E00; background: #fdf3ec; padding: .5rem .9rem; margin: .8rem 0; max-width: 46rem; }
pre { overflow-x: auto; background: #f5f5f5; padding: .7rem; font-size: .85rem; }
summary { cursor: pointer; margin: .6rem 0; }
footer { margin-top: 2.5rem; border-top: 1px solid #ddd; font-size: .86rem; color: #444; }
td.short { white-space: nowrap; }
td.text { overflow-wrap: anywhere; min-width: 5rem; }
@media print { details > * { display: block; } .figures { grid-template-columns: 1fr 1fr; } }
"""


def esc(text):
    return html.escape(str(text), quote=True)


def rich(text):
    """Escaped text in which L_T, L_{t-1}, x_0 have an index."""
    return re.sub(r"\b([Lx])_(?:\{([^}]*)\}|(\w))", r"<i>\1</i><sub>\2\3</sub>", esc(text))


def table(head, rows, number=True, main=None, caption=None):
    """head: texts; rows: (row name, cells), all plain text. main: the row that stands out."""
    def kind(cell):
        return "n" if number else "text" if len(str(cell)) > 26 else "short"

    top = ' class="n"' if number else ""
    name = esc(caption or head[0])
    lines = [f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table>']
    if caption:
        lines.append(f"<caption>{esc(caption)}</caption>")
    lines.append("<thead><tr>" + f'<th scope="col">{rich(head[0])}</th>'
                 + "".join(f'<th scope="col"{top}>{esc(h)}</th>' for h in head[1:]) + "</tr></thead><tbody>")
    for name, cells in rows:
        mark = ' class="main"' if name == main else ""
        lines.append(f'<tr{mark}><th scope="row">{rich(name)}</th>'
                     + "".join(f'<td class="{kind(c)}">{esc(c)}</td>' for c in cells) + "</tr>")
    return "\n".join(lines + ["</tbody></table></div>"])


def picture(fig, kind, alt, caption):
    """A figure as an image inside the page; svg for lines, png for many points."""
    size = fig.get_size_inches() * 96
    out = io.BytesIO()
    fig.savefig(out, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else {})
    figure.plt.close(fig)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return embed(out.getvalue(), mime, alt, caption, size)


def embed(data, mime, alt, caption, size=None):
    dims = f' width="{size[0]:.0f}" height="{size[1]:.0f}"' if size is not None else ""
    return (f'<figure><img{dims} alt="{esc(alt)}" src="data:{mime};base64,{base64.b64encode(data).decode()}">'
            f"<figcaption>{rich(caption)}</figcaption></figure>")


def figures(pictures):
    """Side by side where there is room, two or three in a row."""
    return f'<div class="figures{" three" if len(pictures) % 3 == 0 else ""}">{"".join(pictures)}</div>'


def panel(draw, alt, caption, *arguments):
    fig, axes = figure.panels(1, 1, (4.2, 3.1))
    draw(axes[0], *arguments)
    return picture(fig, "svg", alt, caption)


class Part:
    """What the page says about one run: its record, last evaluation and newest samples, where there are any."""

    def __init__(self, r, step, units):
        self.record, self.label = r, r.label
        self.terms = r.evaluation(step, units) if r.evaluations else None
        self.classes = r.classes(step, units) if r.evaluations and r.has("kl/class_total") else None
        self.samples = None
        try:
            self.samples = open_samples(r.folder)
            self.samples.label = r.label
        except RunError as e:
            if e.status == record.DATA:
                raise

    def sample_picture(self):
        """The newest picture that diffx itself drew (images)."""
        found = sorted(glob.glob(os.path.join(glob.escape(self.record.folder), "samples", "step-*.png")))
        return found[-1] if found else None


CLASSES = "Mean bound of the examples of each class with its standard error; the line is the mean of all."

# --- the sections ---------------------------------------------------------

def notes(runs):
    """What a reader must know before comparing numbers."""
    found, records = [], [u.record for u in runs]
    if len({r.attr("dataset_hash", "") for r in records}) > 1:
        found.append("The runs were made on different data: their bounds cannot be compared.")
    if len({r.dimension for r in records}) > 1:
        found.append("The runs differ in the dimension of a sample: compare bits/dim with care.")
    steps = {u.terms.step for u in runs if u.terms}
    if len(steps) > 1:
        found.append("The evaluations were made at different steps: " + ", ".join(map(str, sorted(steps))) + ".")
    for u in runs:
        if not u.terms:
            found.append(f"{u.label}: no evaluation in its record, so no bound and no rate.")
        elif u.terms.missing:
            found.append(f"{u.label}: {u.terms.missing} of {len(u.terms.t) - 1} KL terms were not evaluated. The total "
                         "is an unbiased estimate all the same; rate and shares interpolate the missing terms.")
        if u.record.rows("train"):
            bad = np.count_nonzero(~np.isfinite(u.record.array("train/loss")))
            if bad:
                found.append(f"{u.label}: {bad} rows of the training loss are not finite.")
    return "\n".join(f'<p class="note" role="note">{esc(n)}</p>' for n in found)


def results(runs, units):
    """The numbers that a paper quotes. A row per number, so that few runs fit a phone."""
    other = "nats" if units == "bits" else "bits"

    def of(u, make):
        return make(u.terms) if u.terms else "–"

    def in_other(k):
        factor = k.record.units_factor(units) / k.record.units_factor(other)
        return pm(k.total[0] * factor, k.total[1] * factor)

    rows = [(f"bound on −log p(x_0) [{UNIT_NAMES[units]}]", lambda k: pm(*k.total)),
            (f"bound on −log p(x_0) [{UNIT_NAMES[other]}]", in_other),
            (f"decoder term L_0 [{UNIT_NAMES[units]}]", lambda k: pm(*k.decoder)),
            (f"rate L_1 + … + L_T [{UNIT_NAMES[units]}]", lambda k: pm(k.rate()[0])),
            (f"prior term L_T [{UNIT_NAMES[units]}]", lambda k: pm(*k.prior)),
            ("distortion at t = 1 [RMSE, data units]", lambda k: pm(k.distortion()[0])),
            ("examples evaluated", lambda k: k.examples), ("at step", lambda k: k.step),
            ("weights", lambda k: k.weights)]
    body = [(name, [of(u, make) for u in runs]) for name, make in rows]
    return ("<h2 id=\"results\">Results</h2>"
            + table(["test split"] + [u.label for u in runs], body, main=rows[0][0])
            + "<p>± is one standard error over the examples of the test split. The bound is the sum of prior, KL and "
              "decoder terms; 1 bit/dim = D ln 2 nats.</p>")


def training(runs, units):
    records = [u.record for u in runs if u.record.rows("train")]
    if not records:
        return '<h2 id="training">Training</h2><p>No row of training in the record.</p>'
    names = ", ".join(r.label for r in records)

    def tail(r):
        y = r.array("train/loss")
        y = y[-max(1, len(y) // 10):]
        return float(np.mean(y))

    def speed(r):
        y = r.array("timing/examples_per_second") if r.rows("timing") else np.empty(0)
        y = y[np.isfinite(y)]
        return f"{np.median(y):,.0f}" if len(y) else "–"

    rows = [("last logged step", [f"{r.array('train/step')[-1]:.0f}" for r in records]),
            ("loss, mean of the last tenth", [pm(tail(r)) for r in records]),
            ("examples per second, median", [speed(r) for r in records])]
    pictures = [
        panel(curves.draw_loss, f"Training loss over the steps of {names}.",
              "Loss of each logged row (pale) and its running mean.", records),
        panel(curves.draw_totals, "Variational bound over the steps.",
              "The bound at each evaluation, bars or band of one standard error. A triangle is a value above the axis.",
              [u.record for u in runs], units),
        panel(curves.draw_grad_norm, f"Gradient norm over the steps of {names}.",
              "Norm of the gradient before clipping.", records),
        panel(curves.draw_rate, f"Learning rate over the steps of {names}.", "Learning rate.", records)]
    return ('<h2 id="training">Training</h2>' + table(["train split"] + [r.label for r in records], rows)
            + figures(pictures))


def where_bits_go(terms, units):
    unit = UNIT_NAMES[units]
    alt = "; ".join(f"{k.record.label}: {pm(k.term[1])} at t = {k.t[1]}, {pm(k.term[-1])} at t = {k.t[-1]}"
                    for k in terms if len(k.t) > 1)
    rows_of_bits = [bits.Bits(k) for k in terms]
    shares = [k.shares() for k in terms]
    keys = list(dict.fromkeys((first, last) for s in shares for first, last, _ in s))
    keys.sort(key=lambda k: (k[0] is None, k))
    rows = []
    for key in keys:
        cells = []
        for s in shares:
            whole, value = sum(v for _, _, v in s) or 1.0, dict(((a, b), v) for a, b, v in s).get(key)
            cells.append("–" if value is None else f"{pm(value)} ({100 * value / whole:.1f} %)")
        rows.append(("prior L_T" if key[0] is None else f"t = {key[0]} … {key[1]}", cells))
    pictures = [
        panel(kl.draw_terms, f"KL term per timestep in {unit}, both axes logarithmic. {alt}.",
              "L_{t−1}: the KL divergence of the step from t to t − 1. The decoder term L_0 may be negative and "
              "stands in the table of results.", terms),
        panel(bits.draw_density, f"KL term by its stretch of the logarithm of t, in {unit}.",
              "The same terms by their stretch of the logarithm of t: equal areas are equal bits.", rows_of_bits),
        panel(bits.draw_running, f"Sum of the prior, the KL terms and at t = 1 the decoder term, from T down to t, in {unit}.",
              "What the bound has come to on the way down to t; at t = 1 it is complete, drawn with its standard error.",
              rows_of_bits)]
    return ('<h2 id="bits">Where the bits go</h2>' + figures(pictures)
            + table([f"KL terms [{unit}]"] + [k.record.label for k in terms], rows))


def differences(terms, units):
    """Of each run against the first, and why there is none where there is none."""
    found, refused = [], []
    for k in terms[1:]:
        try:
            found.append(difference.Difference(k, terms[0]))
        except RunError as e:
            refused.append(f"<p>{esc(e)}</p>")
    parts = ['<h2 id="difference">Differences</h2>']
    if found:
        rows = [(d.name, [pm(*d.total), d.words()]) for d in found]
        parts.append(table([f"bound on −log p(x_0) [{UNIT_NAMES[units]}]", "difference", "standard error"], rows, number=False))
        parts.append(figures([
            panel(difference.draw_terms, "Difference of the KL terms by their stretch of the logarithm of t.",
                  "Where the difference comes from: equal areas are equal bits.", found),
            panel(difference.draw_running, "Sum of the differences from T down to t.",
                  "What the difference has come to on the way down to t; at t = 1 it is complete.", found)]))
    return "".join(parts + refused)


def classes(found, units):
    names = [k.record.label for k in found]
    count = max(len(k.total) for k in found)
    rows = [(f"class {max(found, key=lambda k: len(k.names)).names[c]}", [pm(k.total[c], k.stderr[c]) if c < len(k.total) else "–" for k in found]) for c in range(count)]
    pictures = []
    if len({len(k.total) for k in found}) == 1:
        pictures.append(panel(by_class.draw, "Bound of each class, in order of the first run.", CLASSES, found, units))
    if by_class.has_terms(found[0]):
        pictures.append(panel(by_class.draw_terms, "Terms of the classes less those of all, summed from T down to t.",
                              f"{names[0]}: what a class costs more than all, on the way down to t.", found[0], units))
    drawn = figures(pictures) if pictures else ""
    return ('<h2 id="classes">Classes</h2>' + drawn + table([f"bound on −log p(x_0) [{UNIT_NAMES[units]}]"] + names, rows))


def schedules(runs):
    found = [schedule.Schedule(u.record) for u in runs]
    words = (("Signal and noise over the timesteps.", "Scales of signal and noise in x_t."),
             ("Signal-to-noise ratio over the timesteps.", "Ratio of the variances of signal and noise."),
             ("Variances over the timesteps.",
              "Variance of a step of the noising process, of its reverse q given x_0, and of p."),
             ("Weight of the error of x_0 over the timesteps.",
              "What a squared error of x_0 costs in L_{t−1}, in nats, if p has the variance of q."))
    return ('<h2 id="schedule">Schedule</h2>'
            + figures([panel(draw, alt, caption, found) for draw, (alt, caption) in zip(schedule.PANELS, words)]))


def rate(terms, units):
    unit = UNIT_NAMES[units]
    tables = []
    for k in terms:
        rows = [(n, [f"{v:.5f}" if np.isfinite(v) else "–" for v in both]) for n, *both in rate_distortion.table(k, 10)]
        tables.append(table(["T − t + 1", f"rate [{unit}]", "RMSE [data]"], rows, caption=k.record.label))
    return ('<h2 id="rate">Rate and distortion</h2>'
            "<p>In the form of DDPM, Table 4: T − t + 1 counts the steps of the reverse process; the rate is the prior and the KL "
            "terms of all steps so far, the distortion the root mean squared error of the predicted <i>x</i><sub>0</sub>.</p>"
            + figures([
                panel(rate_distortion.draw_both, f"Distortion against rate in {unit}.", "Distortion against rate.", terms),
                panel(rate_distortion.draw_rate, f"Rate in {unit} against the steps of the reverse process.",
                      "Rate over the reverse process.", terms),
                panel(rate_distortion.draw_distortion, "Distortion against the steps of the reverse process.",
                      "Distortion over the reverse process.", terms)])
            + f'<div class="side">{"".join(tables)}</div>')


def samples(runs):
    pictures = []
    drawable = [u for u in runs if u.samples and u.record.modality == "points" and np.prod(u.samples.x.shape[1:]) >= 2]
    for u in drawable:
        s, colour = u.samples, figure.look(u.record.place)["color"]
        fig, axes = figure.panels(1, 1, (4.2, 4.3))
        points.draw_scatter(axes[0], s, colour=colour)
        pictures.append(picture(fig, "png", f"Scatter of {len(s.x)} samples of {u.label} over {len(s.reference)} rows of "
                                            "the test split.",
                                f"{len(s.x)} samples ({s.sampler or 'sampler not named'}, {s.weights} weights) over "
                                f"{len(s.reference)} rows of the test split."))
        if len(s.trajectory):
            n = min(6, len(s.trajectory))
            rows = -(-n // 3)
            fig, axes = figure.panels(rows, min(n, 3), (1.5, 1.68))
            points.draw_trajectory(axes, s, points.trajectory_window([s]), colour=colour, wanted=n)
            fig.suptitle(figure.plain(u.label), x=0.01, ha="left", fontsize=9.5)
            pictures.append(picture(fig, "png", f"Reverse process of {u.label}: the points at {n} timesteps from noise to data.",
                                    "The reverse process: x_t from t = T (noise) to t = 0."))
    for u in runs:
        if u not in drawable and u.sample_picture():
            with open(u.sample_picture(), "rb") as f:
                pictures.append(embed(f.read(), "image/png", f"Grid of samples of {u.label}.", f"Samples of {u.label}."))
    return '<h2 id="samples">Samples</h2>' + (figures(pictures) if pictures else "<p>No samples that this page can draw.</p>")


def settings(runs):
    records = [u.record for u in runs]
    parts, labels = ['<h2 id="settings">Settings</h2>'], [u.label for u in runs]
    if len(records) > 1:
        rows = [(k, [v if v is not None else "not set" for v in values]) for k, values in record.differences(records)]
        parts.append(table(["differs"] + labels, rows, number=False) if rows else
                     "<p>The scientific settings of these runs are the same.</p>")
    each = [r.settings() for r in records]
    keys = list(dict.fromkeys(k for s in each for k in s))
    parts.append(f"<details{' open' if len(records) == 1 else ''}><summary>All scientific settings</summary>"
                 + table(["setting"] + labels, [(k, [s.get(k, "not set") for s in each]) for k in keys], number=False)
                 + "</details>")
    for u in runs:
        parts.append(f"<details><summary>{esc(u.label)}: as an experiment file</summary>"
                     f'<pre tabindex="0">{esc(u.record.experiment)}</pre></details>')
    return "".join(parts)


def _when(value):
    if isinstance(value, (int, float)) and value > 1e8:
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return value if isinstance(value, str) else f"{value:g}"


def provenance(runs):
    each = [u.record.provenance() for u in runs]
    keys = [k for k in dict.fromkeys(k for facts, _ in each for k in facts) if k not in ("settings", "experiment")]
    rows = [(k, [facts.get(k, "–") for facts, _ in each]) for k in keys]
    rows += [("data, content hash", [u.record.attr("dataset_hash", "–") for u in runs]),
             ("modality, D, T", [f"{u.record.modality}, {u.record.dimension}, {u.record.timesteps}" for u in runs])]
    parts = ['<h2 id="provenance">Provenance</h2>', table(["made by"] + [u.label for u in runs], rows, number=False)]
    for u, (_, sessions) in zip(runs, each):
        if sessions:
            columns = [c for c in ("start", "step", "ranks", "threads", "host") if c in sessions[0]]
            columns += [c for c in sessions[0] if c not in columns]
            body = [(i + 1, [_when(s.get(c, "–")) for c in columns]) for i, s in enumerate(sessions)]
            parts.append(table([f"{u.label}: session"] + columns, body, number=False))
    return "".join(parts)


def page(runs, units):
    terms = [u.terms for u in runs if u.terms]
    sections = [("results", "Results", results(runs, units)), ("training", "Training", training(runs, units))]
    if terms:
        sections += [("bits", "Bits", where_bits_go(terms, units)), ("rate", "Rate–distortion", rate(terms, units))]
    if len(terms) > 1:
        sections.append(("difference", "Differences", differences(terms, units)))
    if any(u.classes for u in runs):
        sections.append(("classes", "Classes", classes([u.classes for u in runs if u.classes], units)))
    sections.append(("schedule", "Schedule", schedules(runs)))
    sections += [("samples", "Samples", samples(runs)), ("settings", "Settings", settings(runs)),
                 ("provenance", "Provenance", provenance(runs))]
    title = ", ".join(u.label for u in runs)
    links = " ".join(f'<a href="#{key}">{name}</a>' for key, name, _ in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(title)} – diffx</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{esc(title)}</h1>
<nav aria-label="Sections">{links}</nav></header>
<main>
{notes(runs)}
{"".join(f'<section aria-labelledby="{key}">{body}</section>' for key, _, body in sections)}
</main>
<footer><p>Drawn by diffx from {len(runs)} record{"s" if len(runs) > 1 else ""}: {esc(", ".join(u.record.path for u in runs))}.</p></footer>
</body>
</html>
"""


def main(arguments):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folder or its metrics.h5")
    p.add_argument("-o", "--out", default="report.html", help="page to write (default report.html)")
    p.add_argument("--labels", metavar="A,B,...", help="names of the runs (default: from the records)")
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    a = p.parse_args(arguments)
    figure.check_out(a.out, ("html", "htm"))
    runs = [Part(r, a.step, a.units) for r in open_runs(a.runs, a.labels)]
    text = page(runs, a.units)
    with open(a.out, "w", encoding="utf-8") as f:
        f.write(text)
    print(f"wrote {a.out}")


if __name__ == "__main__":
    figure.run_script(main)
