"""An evaluation on the terminal: one table for each kind of ground, model and baselines beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detectors.evaluation.measures import Measure, measures_of, show
from detectors.evaluation.report import GROUPS, Report, Section
from detectors.evaluation.tally import Tally

#: Places of a group that get a column of their own.
MOST_PLACES = 4


def print_report(report: Report, console: Console) -> None:
    """Print every kind of ground, measures downwards, answers across; and thresholds."""
    console.print(f"[bold]{escape(report.bundle.identity)}[/bold] on {escape(report.engine)}")
    for section in report.sections:
        _print_section(section, console)


def _print_section(section: Section, console: Console) -> None:
    columns: list[tuple[str, Tally | None]] = [(row.name, row.tally) for row in section.rows]
    if 1 < len(section.places) <= MOST_PLACES:
        columns += [(f"model: {name}", tally) for name, tally in section.places.items()]
    tallies = [tally for _, tally in columns if tally is not None]
    title = f"{GROUPS[section.group]} ({len(section.places)}: {', '.join(list(section.places)[:4])}"
    table = Table(title=escape(title + (", ...)" if len(section.places) > 4 else ")")), title_justify="left")
    table.add_column("")
    for name, _ in columns:
        table.add_column(escape(name), justify="right")
    for measure in measures_of(*tallies):
        table.add_row(measure.name, *(_cell(measure, tally) for _, tally in columns))
    counts = [None if t is None or t.objects is None else t.objects.counts() for _, t in columns]
    if any(counts):
        table.add_row("objects right/wrong/missed", *(
            "–" if c is None else f"{c.true_positive}/{c.false_positive}/{c.false_negative}" for c in counts))
    console.print(table)
    _print_classes(section.model, console)
    if section.thresholds:
        _print_thresholds(section.thresholds, console)
    for row in section.rows:
        for note in row.notes:
            console.print(f"  {escape(row.name)}: {escape(note)}", style="dim")


def _print_classes(tally: Tally, console: Console) -> None:
    confusion = tally.confusion
    table = Table("class", title="by class", title_justify="left")
    for heading in ("pixels", "precision", "recall", "F1", "IoU", "boundary F1", "relaxed P", "relaxed R", "AP", "ECE"):
        table.add_column(heading, justify="right")
    for k, name in enumerate(tally.legend.classes):
        numbers: Sequence[float] = (
            confusion.precision[k], confusion.recall[k], confusion.f1[k], confusion.iou[k], tally.edges[k].f1,
            tally.relaxed[k].precision, tally.relaxed[k].recall, tally.scores[k].average_precision,
            tally.scores[k].reliability().error,
        )
        table.add_row(escape(name), f"{confusion.counts[k].sum():,}", *(show(float(number)) for number in numbers))
    console.print(table)


def _print_thresholds(thresholds: Mapping[str, Mapping[str, Mapping[str, float]]], console: Console) -> None:
    table = Table("class", title="thresholds for a wanted precision, of pixels", title_justify="left")
    for heading in ("wanted", "threshold", "precision", "recall"):
        table.add_column(heading, justify="right")
    for name, targets in thresholds.items():
        for target, there in targets.items():
            table.add_row(escape(name), target, *(f"{there[key]:.3f}" for key in ("threshold", "precision", "recall")))
    console.print(table)


def _cell(measure: Measure, tally: Tally | None) -> str:
    return "–" if tally is None else show(measure.read(tally), measure.unit)
