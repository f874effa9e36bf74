"""`auto` takes what is fastest here, says why, and remembers it for as long as it holds."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import pytest

from detectors.errors import BundleInvalid, BundleMismatch, EngineUnavailable
from detectors.segmentation import Engine, OnnxEngine, OpenvinoEngine, open_engine
from detectors.segmentation.engines import probe
from detectors.segmentation.engines.choice import candidates
from detectors.segmentation.engines.probe import BUDGET_S, FILE, Candidate, Measured, fastest, key_of

pytest.importorskip("onnxruntime")

FAST, SLOW, BROKEN = Candidate("openvino", "bf16"), Candidate("onnx", "f32"), Candidate("mxnet", "f32")


class Clock:
    """Goes on only where something takes time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(Engine):
    """An engine that needs so long."""

    name = device = "timed"

    def __init__(self, bundle, clock: Clock, seconds: float):
        super().__init__(bundle)
        self.clock, self.seconds = clock, seconds

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.clock.now += self.seconds
        return np.zeros((len(batch), 3, *batch.shape[2:]), np.float16)


def race(bundle, seconds: dict[Candidate, float], opening: float = 0.0, costs=lambda candidate: 0.0):
    clock = Clock()
    opened = []

    def open_one(candidate: Candidate) -> Engine:
        clock.now += opening
        opened.append(candidate)
        if seconds[candidate] < 0:
            raise EngineUnavailable("not today")
        return Timed(bundle, clock, seconds[candidate])

    return *fastest(list(seconds), open_one, bundle.card, costs, clock=clock), opened, clock.now


def test_the_fastest_is_kept_whatever_the_order(tiny_bundle):
    for order in ({SLOW: 0.05, FAST: 0.01}, {FAST: 0.01, SLOW: 0.05}):
        engine, measured, _, _ = race(tiny_bundle, order)
        assert engine.seconds == 0.01 and measured.candidate == FAST
        assert measured.speeds == {str(FAST): 100.0, str(SLOW): 20.0}
        assert measured.figures.startswith("tiles/s:") and "openvino bf16 100" in measured.figures


def test_one_that_cannot_be_opened_is_passed_over(tiny_bundle, caplog):
    caplog.set_level(logging.INFO)
    _, measured, _, _ = race(tiny_bundle, {BROKEN: -1, SLOW: 0.05})
    assert measured.candidate == SLOW and measured.speeds[str(BROKEN)] is None
    assert "mxnet f32 takes no part: not today" in caplog.text
    with pytest.raises(EngineUnavailable, match="not today"):
        race(tiny_bundle, {BROKEN: -1})


def test_a_probe_ends_in_time(tiny_bundle):
    """Opening takes most of it: what comes late is not opened any more, and the figures say so."""
    _, measured, opened, took = race(tiny_bundle, {FAST: 0.02, SLOW: 0.05, BROKEN: 0.001}, opening=1.1)
    assert opened == [FAST, SLOW] and took <= BUDGET_S + 1.1
    assert measured.candidate == FAST and "not measured: onnx f32, mxnet f32" in measured.figures
    _, measured, opened, _ = race(tiny_bundle, {FAST: 0.02, SLOW: 0.01}, costs=lambda c: 3.0 if c == SLOW else 0.0)
    assert opened == [FAST], "what would take longer than what is left is not begun"


def test_even_a_slow_machine_gets_an_engine(tiny_bundle):
    _, measured, opened, _ = race(tiny_bundle, {FAST: 30.0, SLOW: 60.0})
    assert measured.candidate == FAST and opened == [FAST]


def test_only_what_the_card_allows_takes_part(tiny_bundle):
    exact = tiny_bundle.card.model_copy(update={"precisions": {
        "bf16": {"allowed": False, "points_lost": 2.0}, "int8": {"allowed": False}, "f32": {"allowed": True}}})
    bundle = type(tiny_bundle)(exact, tiny_bundle.directory, tiny_bundle.identity)
    assert {one.precision for one in candidates(bundle)} == {"f32"}
    with pytest.raises(BundleMismatch, match=r"may not be run in bf16: it loses 2\.0 points"):
        open_engine(bundle, precision="bf16")


def test_an_outcome_is_remembered_and_said(tiny_bundle, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = open_engine(tiny_bundle, memory=tmp_path)
    assert f"model {tiny_bundle.identity} runs on {first.name}" in caplog.text and "tiles/s: " in caplog.text
    (kept,) = json.loads((tmp_path / FILE).read_text()).values()
    assert kept["candidate"] == [first.name, first.precision]
    caplog.clear()
    again = open_engine(tiny_bundle, memory=tmp_path)
    assert (again.name, again.precision) == (first.name, first.precision)
    assert "the fastest when measured on" in caplog.text


def test_memory_is_believed_even_against_expectation(tiny_bundle, tmp_path):
    found = candidates(tiny_bundle)
    slow = Candidate("onnx", "f32")
    assert slow in found
    measured = Measured(slow, {str(slow): 99.0}, 1.0, "2026-01-01")
    probe.remember(tmp_path, key_of(tiny_bundle, 0, found), measured)
    assert isinstance(open_engine(tiny_bundle, memory=tmp_path), OnnxEngine)


@pytest.mark.parametrize("spoil", [
    lambda entry: "{", lambda entry: "[]", lambda entry: "[" * 100_000, lambda entry: "\x00",
    lambda entry: json.dumps(dict.fromkeys(entry, 7)),
    lambda entry: json.dumps({key: {**value, "candidate": ["abacus", "f32"]} for key, value in entry.items()}),
    lambda entry: json.dumps({key: {**value, "speeds": 3} for key, value in entry.items()}),
    lambda entry: json.dumps({f"old{key}": value for key, value in entry.items()}),
])
def test_a_broken_or_stale_memory_is_measured_anew_with_a_line_in_the_log(tiny_bundle, tmp_path, caplog, spoil,
                                                                         monkeypatch):
    caplog.set_level(logging.INFO)
    found = candidates(tiny_bundle)
    key = key_of(tiny_bundle, 0, found)
    probe.remember(tmp_path, key, Measured(found[0], {str(found[0]): 9.0}, 1.0, "2026-01-01"))
    (tmp_path / FILE).write_text(spoil(json.loads((tmp_path / FILE).read_text())))
    monkeypatch.setattr(probe, "BUDGET_S", 0.0)
    assert open_engine(tiny_bundle, memory=tmp_path)
    assert FILE in caplog.text and "by a probe of" in caplog.text
    assert probe.recall(tmp_path, key, found) is not None, "the new outcome is kept"


def test_what_was_measured_holds_for_one_model_machine_and_version(tiny_bundle, monkeypatch):
    found = candidates(tiny_bundle)
    keys = {key_of(tiny_bundle, 0, found), key_of(tiny_bundle, 1, found), key_of(tiny_bundle, 0, found[:1])}
    other = tiny_bundle.card.model_copy(update={"files": {**tiny_bundle.card.files, "model.onnx": "0" * 64}})
    keys.add(key_of(type(tiny_bundle)(other, tiny_bundle.directory, "x"), 0, found))
    monkeypatch.setattr(probe, "version", lambda package: "99")
    keys.add(key_of(tiny_bundle, 0, found))
    monkeypatch.setattr(probe, "_processor", lambda: "abacus")
    keys.add(key_of(tiny_bundle, 0, found))
    assert len(keys) == 6


def test_a_memory_that_cannot_be_written_is_no_reason_to_stop(tiny_bundle, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert open_engine(tiny_bundle, memory=tmp_path / "file" / "below")
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("engine", ["auto", "mxnet", "onnx", "openvino"])
def test_negative_threads_are_refused(tiny_bundle, engine):
    with pytest.raises(EngineUnavailable, match="-1 threads cannot be"):
        open_engine(tiny_bundle, engine, -1)


def test_a_precision_that_an_engine_lacks_is_refused(tiny_bundle):
    with pytest.raises(EngineUnavailable, match="not in int8"):
        open_engine(tiny_bundle, "mxnet", precision="int8")
    with pytest.raises(EngineUnavailable, match="not in bf16"):
        open_engine(tiny_bundle, "onnx", precision="bf16")
    with pytest.raises(EngineUnavailable, match="no precision 'int3'"):
        open_engine(tiny_bundle, "openvino", precision="int3")


@pytest.mark.parametrize(("package", "engine"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_an_absent_engine_says_what_to_install(tiny_bundle, monkeypatch, package, engine):
    monkeypatch.setitem(sys.modules, package, None)  # makes the import fail
    with pytest.raises(EngineUnavailable, match="pip install"):
        open_engine(tiny_bundle, engine, precision="f32")


def test_a_broken_onnx_file_is_refused_by_name(tiny_bundle, tmp_path):
    for content in (b"{}", b"", tiny_bundle.path("model.onnx").read_bytes()[:5000]):
        (tmp_path / "model.onnx").write_bytes(content)
        spoilt = type(tiny_bundle)(tiny_bundle.card, tmp_path, "x")
        for engine in (OnnxEngine, OpenvinoEngine):
            with pytest.raises(BundleInvalid, match=r"model\.onnx"):
                engine(spoilt, precision="f32")
