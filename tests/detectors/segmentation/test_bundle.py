"""A bundle is trusted only when its card is sound and every file is what the card says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import BundleInvalid, BundleMismatch
from detectors.segmentation import Bundle


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    """A bundle that may be spoilt."""
    directory = tmp_path / "copy"
    shutil.copytree(tiny_bundle.directory, directory)
    return directory


def rewrite(directory: Path, **changes) -> None:
    card = json.loads((directory / "card.json").read_text())
    (directory / "card.json").write_text(json.dumps({**card, **changes}))


def test_the_card_says_what_the_model_is(tiny_bundle):
    card = Bundle.load(tiny_bundle.directory).card
    assert (card.bands, card.classes, card.stride) == (3, ("background", "building", "border"), 4)
    assert card.footprint == {"building": 1.0, "border": 1.0} and card.interior == "building"
    assert card.data[0]["imagery_licence"] == "MIT"
    assert card.training["seed"] == 5 and card.training["fold"] == 2
    assert card.architecture["parameters"] > 1000
    assert card.architecture["export_difference"] < 1e-3
    assert tiny_bundle.identity.startswith("tiny@") and len(tiny_bundle.identity) == 17


def test_the_footprint_is_interior_and_border(tiny_bundle):
    planes = np.array([[[0.1]], [[0.6]], [[0.3]]], dtype=np.float16)
    assert tiny_bundle.footprint_of(planes)[0, 0] == pytest.approx(0.9, abs=1e-3)


def test_a_model_without_a_footprint_rule_says_so(copy):
    rewrite(copy, footprint={})
    with pytest.raises(BundleMismatch, match="no footprint rule"):
        Bundle.load(copy).footprint_of(np.zeros((3, 2, 2)))


@pytest.mark.parametrize("name", ["model-0000.params", "model.onnx", "model-symbol.json"])
def test_a_changed_or_cut_file_is_refused(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleInvalid, match=rf"{name}: sha256"):
        Bundle.load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleInvalid, match=rf"{name}: not readable"):
        Bundle.load(copy)


def test_a_newer_format_asks_for_an_upgrade(copy):
    rewrite(copy, format=99, classes="something else altogether")
    with pytest.raises(BundleInvalid, match=r"format 99, but this mapgap reads up to 2; upgrade mapgap"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/hostname", "sub/model.onnx", "..\\model.onnx", "..", ""])
def test_a_card_cannot_point_out_of_its_directory(copy, name):
    card = json.loads((copy / "card.json").read_text())
    rewrite(copy, files={**card["files"], name: "0" * 64})
    with pytest.raises(BundleInvalid, match="only plain names beside the card"):
        Bundle.load(copy)


def test_a_link_out_of_the_bundle_is_refused(copy, tmp_path):
    outside = tmp_path / "outside.onnx"
    (copy / "model.onnx").rename(outside)
    (copy / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleInvalid, match="a link that leaves the bundle"):
        Bundle.load(copy)


@pytest.mark.parametrize(("changes", "message"), [
    ({"bands": 0}, "bands"),
    ({"bands": 4}, "mean and std need one number for each of the 4 bands"),
    ({"classes": ["background"]}, "classes"),
    ({"classes": ["a", "a", "b"]}, "not unique"),
    ({"files": {}}, "files lacks the sha256"),
    ({"gsd_range_m": [0.4, 0.2]}, "gsd_range_m"),
    ({"footprint": {"roof": 1.0}}, "unknown classes: roof"),
    ({"name": "../x"}, "name"),
    ({"precision": "int3"}, "precision"),
])
def test_a_senseless_card_is_refused(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(BundleInvalid, match=message):
        Bundle.load(copy)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\x00\x01", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(copy, text):
    (copy / "card.json").write_text(text)
    with pytest.raises(BundleInvalid):
        Bundle.load(copy)


def test_an_enormous_card_is_not_read(copy):
    (copy / "card.json").write_text(" " * (1024**2 + 1))
    with pytest.raises(BundleInvalid, match="a card has"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["no-such-model", "", "..", "/", "../bundles"])
def test_an_unknown_model_is_named_with_what_there_is(name):
    with pytest.raises(BundleInvalid, match="nor a shipped bundle"):
        Bundle.load(name)


def test_the_shipped_bundle_is_complete_small_and_tells_its_sources():
    bundle = Bundle.load("building")
    size = sum(path.stat().st_size for path in bundle.directory.iterdir())
    assert size <= 12 * 1024**2
    assert {entry["imagery_licence"] for entry in bundle.card.data if "banepa" in entry["path"]} == {"CC-BY-4.0"}
    assert bundle.card.training["fold"] == -1
    assert bundle.card.metrics["held_out_total"]["iou"] > 0.5
    assert "kampala" in bundle.card.metrics["unseen_places"]
    assert bundle.card.limits
