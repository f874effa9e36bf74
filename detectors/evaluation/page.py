"""An evaluation as one HTML file that needs nothing else: tables, curves, and tiles to look at."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from detectors.evaluation.charts import Colour, draw_key, draw_precision_recall, draw_reliability
from detectors.evaluation.gallery import INVENTED, MISSED, PANELS, RIGHT, UNSCORED, Gallery
from detectors.evaluation.ground import TRAINED_ON
from detectors.evaluation.measures import SUMMARY, measures_of, show
from detectors.evaluation.report import GROUPS, Report, Section
from detectors.evaluation.tally import Tally

#: Places of a group that get a line of their own.
MOST_PLACES = 60
#: Measures of such a line.
OF_PLACES = {"IoU", "mIoU", "precision", "recall", "accuracy", "boundary F1", "relaxed F1", "object F1", "paths", "ECE"}
HEADINGS = {"worst": "Worst tiles", "median": "Tiles in the middle", "best": "Best tiles"}


def write_page(report: Report, path: Path) -> Path:
    """Write the page; its directory is made if absent.

    Returns:
        The file written: `path`, or index.html in it where it is a directory or has no suffix.
    """
    target = path / "index.html" if path.is_dir() or not path.suffix else path
    target.parent.mkdir(parents=True, exist_ok=True)
    card = report.bundle.card
    page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"Evaluation of {card.name}"),
        head=_head(report),
        sections="\n".join(_section(section, report.gallery) for section in report.sections),
        gallery=_gallery(report.gallery),
        glossary=_glossary(),
        provenance=_provenance(report),
    )
    target.write_text(page, encoding="utf-8")
    return target


def _head(report: Report) -> str:
    card = report.bundle.card
    lines = [
        f"Model {report.bundle.identity}, made {card.created or 'at an unknown time'}, "
        f"works at {card.gsd_range_m[0]:g} to {card.gsd_range_m[1]:g} m a pixel",
        f"Ran on {report.engine}" + "".join(f", {key} {value}" for key, value in report.options.items()),
        f"Evaluated {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    ]
    parts = [f'<p class="facts">{escape(line)}</p>' for line in lines]
    if card.osm_bands:
        parts.append('<p class="notice">This model is shown the map as input; it may not judge the map, and its scores '
                     "are not to be compared with those of models that see imagery alone.</p>")
    if all(section.group == TRAINED_ON for section in report.sections):
        parts.append('<p class="notice">All of this ground was trained on: these figures prove nothing.</p>')
    return "\n".join(parts)


def _section(section: Section, gallery: Gallery) -> str:
    tally, colours = section.model, gallery.colours()
    notes = [f"{row.name}: {note}" for row in section.rows for note in row.notes]
    parts = [
        f"<h2>{escape(GROUPS[section.group][0].upper() + GROUPS[section.group][1:])}</h2>",
        f'<p class="note">{_count(len(section.places), "place")}, {tally.confusion.total:,} pixels</p>',
        f'<div class="charts">{_summary(section)}{_curves(tally, colours)}</div>',
    ]
    if notes:
        parts.append('<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    parts += ["<h3>By class</h3>", _classes(tally), "<h3>Confusion: rows are the truth, columns the answer</h3>",
              _confusion(tally)]
    if section.thresholds:
        rows = [[name, target, *(f"{there[key]:.3f}" for key in ("threshold", "precision", "recall"))]
                for name, targets in section.thresholds.items() for target, there in targets.items()]
        parts += ["<h3>Thresholds for a wanted precision, of pixels, as measured here</h3>",
                  _table(["class", "wanted", "threshold", "precision", "recall"], rows)]
    if len(section.places) > 1:
        parts.append("<h3>The model, place by place</h3>" + _places(section))
        if len(section.places) > MOST_PLACES:
            parts.append(f'<p class="note">and {len(section.places) - MOST_PLACES} more places</p>')
    return "\n".join(parts)


def _summary(section: Section) -> str:
    """Measures downwards, answers across."""
    tallies = [row.tally for row in section.rows]
    rows = []
    for measure in measures_of(*(tally for tally in tallies if tally is not None)):
        cells = ("–" if tally is None else show(measure.read(tally), measure.unit) for tally in tallies)
        rows.append([measure.name, *cells])
    return _table(["", *(row.name for row in section.rows)], rows, css="summary")


def _curves(tally: Tally, colours: Mapping[str, Colour]) -> str:
    shown = {tally.legend.classes[k]: tally.scores[k] for k in tally.foreground} if tally.scores else {}
    curves = {name: histogram.reliability() for name, histogram in shown.items()}
    key = draw_key({name: colours[name] for name in shown})
    return (
        f"<figure><figcaption>Precision over recall (dot: probability 0.5)</figcaption>"
        f"{draw_precision_recall(shown, colours)}{key}</figure>"
        f"<figure><figcaption>Reliability (larger dot: more pixels)</figcaption>"
        f"{draw_reliability(curves, colours)}</figure>"
    )


def _places(section: Section) -> str:
    """The model's main measures of each place."""
    measures = [m for m in measures_of(*section.places.values()) if m.name in OF_PLACES]
    rows = [[name, *(show(m.read(tally), m.unit) for m in measures)]
            for name, tally in list(section.places.items())[:MOST_PLACES]]
    return _table(["place", *(m.name for m in measures)], rows)


def _classes(tally: Tally) -> str:
    confusion = tally.confusion
    headings = ["class", "pixels", "precision", "recall", "F1", "IoU", "boundary F1", "relaxed precision",
                "relaxed recall", "AP of pixels", "ECE"]
    rows = []
    for k, name in enumerate(tally.legend.classes):
        numbers = [confusion.precision[k], confusion.recall[k], confusion.f1[k], confusion.iou[k], tally.edges[k].f1,
                   tally.relaxed[k].precision, tally.relaxed[k].recall]
        if tally.scores:
            numbers += [tally.scores[k].average_precision, tally.scores[k].reliability().error]
        rows.append([name, f"{confusion.counts[k].sum():,}", *(show(float(n)) for n in numbers)])
    return _table(headings[: len(rows[0])], rows)


def _confusion(tally: Tally) -> str:
    classes, counts = tally.legend.classes, tally.confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    body = []
    for k, name in enumerate(classes):
        cells = "".join(
            f'<td class="cell" style="background:rgba(0,114,178,{share * 0.55:.2f})" title="{count:,} pixels">'
            f"{share:.1%}</td>" for share, count in zip(shares[k], counts[k], strict=True)
        )
        body.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(body)}</table></div>'


def _gallery(gallery: Gallery) -> str:
    parts = []
    for which, shots in gallery.choose().items():
        if not shots:
            continue
        parts.append(f"<h3>{HEADINGS[which]}</h3>")
        for shot in shots:
            data = base64.b64encode(gallery.draw(shot)).decode("ascii")
            text = (f"{shot.place}, from row {shot.row}, column {shot.column}: {shot.agreement:.0%} agreement, "
                    f"QoD {shot.quality:.2f}")
            parts.append(f'<div class="shot"><img alt="{escape(text)}" src="data:image/jpeg;base64,{data}">'
                         f'<div class="note">{escape(text)}</div></div>')
    if not parts:
        return ""
    key = {"right": RIGHT, "said, but not so": INVENTED, "so, but not said": MISSED, "not scored": UNSCORED}
    return (f"<h2>Tiles</h2>{draw_key(gallery.colours())}{draw_key(key)}"
            f'<p class="note">Agreement: of the pixels that are anything in truth or answer, the share on which both '
            f"agree. From left to right: {', '.join(PANELS)}.</p>" + "\n".join(parts))


def _glossary() -> str:
    entries = "".join(f"<div><dt>{escape(m.name)}</dt><dd>{escape(m.title)}"
                      f"{' Less is better.' if m.better < 0 else ''}</dd></div>" for m in SUMMARY)
    return (f'<dl class="glossary">{entries}</dl><p class="note">Counts of all tiles and places are added up before '
            "anything is divided; nothing is a mean of tiles. Unknown ground is not scored.</p>")


def _provenance(report: Report) -> str:
    lines = [f"Imagery: {p.imagery} ({p.imagery_licence}). Labels: {p.labels} ({p.labels_licence})."
             for p in report.sources]
    return "<br>".join(escape(line) for line in lines) or "Imagery and labels: not stated."


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], css: str = "") -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide {css}"><table><tr>{head}</tr>{body}</table></div>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
