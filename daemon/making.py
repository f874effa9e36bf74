"""Commands for making models: train and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import click

from daemon.cli import main
from daemon.config import Log
from daemon.log import set_up_log
from daemon.workbench import DIRECTORY, FILE


@main.command()
@click.argument("config", type=FILE)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the bundle.")
@click.option("--fold", type=int, help="Train only this spatial fold, and score it on the ground it has not seen.")
@click.option(
    "--folds",
    type=click.Path(path_type=Path, file_okay=False),
    help="Train all folds into this directory first; their scores go into the bundle's card.",
)
@click.option("--data", type=DIRECTORY, envvar="MAPGAP_DATA", required=True, help="Where the training data lies.")
def train(config: Path, out: Path, fold: int | None, folds: Path | None, data: Path) -> None:
    """Train a network as CONFIG says, and write it as a bundle with its card."""
    from detectors.training import cross_validate
    from detectors.training import train as train_bundle

    set_up_log(Log())
    if folds:
        bundle = cross_validate(config, data=data, out=out, folds_dir=folds)
    else:
        bundle = train_bundle(config, data=data, out=out, fold=-1 if fold is None else fold)
    click.echo(json.dumps(bundle.card.metrics, indent=1))


@main.command()
@click.argument("bundle")
@click.option("--data", type=DIRECTORY, envvar="MAPGAP_DATA", required=True, help="Where the data lies.")
def evaluate(bundle: str, data: Path) -> None:
    """Measure BUNDLE (a shipped one's name, or a directory) on the labelled ground its card names."""
    from detectors.evaluation import evaluate as evaluate_bundle

    set_up_log(Log(level="warning"))
    click.echo(json.dumps(evaluate_bundle(bundle, data=data), indent=1))
