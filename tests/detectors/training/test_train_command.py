"""`mapgap train` says what is wrong, goes on where it was cut off, and cleans up behind itself."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import daemon.making  # noqa: F401  (registers the command)
from daemon.cli import main
from detectors.training.curve import read_course


@pytest.fixture
def recipe(workshop, tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(workshop.recipe.read_text().replace("widths = [8, 16, 16]", "widths = [4, 8]"))
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_a_bundle_with_its_course_is_made_and_no_checkpoint_left(recipe, workshop, tmp_path):
    out = tmp_path / "out"
    done = run(recipe, "--data", workshop.data, "--out", out, "--steps", 2, "--fold", 2)
    assert done.exit_code == 0, done.output
    assert {"card.json", "training.jsonl", "training.png"} <= {path.name for path in out.iterdir()}
    assert not (out / "checkpoint.npz").exists()
    card = json.loads((out / "card.json").read_text())
    assert card["training"]["course"]["steps"] == 2 and card["training"]["config"]["optimiser"]["steps"] == 2
    assert read_course(out)[-1]["step"] == 2


def test_resuming_needs_a_checkpoint(recipe, workshop, tmp_path):
    failed = run(recipe, "--data", workshop.data, "--out", tmp_path / "out", "--resume")
    assert failed.exit_code == 7 and "no checkpoint to resume from" in failed.output


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "--out and --data"),
    (("--out", "x", "--data", ".", "--gpus", "one"), "numbers of GPUs"),
    (("--out", "x", "--data", ".", "--folds", "y", "--workers", 2), "--folds trains one fold after the other"),
    (("--out", "x", "--data", ".", "--role", "worker", "--workers", 2), "leave --workers out"),
    (("--out", "x", "--data", ".", "--steps", 0), "--steps"),
])
def test_arguments_that_do_not_go_together_are_named(recipe, arguments, words, monkeypatch):
    monkeypatch.delenv("MAPGAP_DATA", raising=False)
    failed = run(recipe, *arguments)
    assert failed.exit_code == 2 and words in failed.output


def test_help_names_every_option():
    words = run("--help").output
    for option in ("--out", "--fold", "--folds", "--steps", "--gpus", "--resume / --restart", "--workers", "--servers",
                   "--role", "--deadline"):
        assert option in words
