"""All engines give the same answer to the same pixels, and refuse what the model was not made for."""

from __future__ import annotations

import logging
import shutil

import cv2
import numpy as np
import pytest

from detectors.errors import BundleInvalid, BundleMismatch, EngineUnavailable
from detectors.segmentation import Bundle, MxnetEngine, OnnxEngine, OpenvinoEngine, open_engine
from detectors.segmentation.bundle import sha256_of
from detectors.segmentation.export import EXPORT_TOLERANCE

#: float16 keeps probabilities near 1 to half of this.
FLOAT16_STEP = 2**-10


@pytest.fixture(scope="module")
def engines(tiny_bundle):
    pytest.importorskip("onnxruntime")
    return [MxnetEngine(tiny_bundle), OpenvinoEngine(tiny_bundle, precision="f32"),
            OnnxEngine(tiny_bundle, precision="f32", gpu=False)]


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 32, 96), (2, 3, 100, 64), (1, 3, 4, 4), (1, 3, 64, 64)])
def test_engines_agree_on_any_batch_and_size(engines, shape):
    batch = pixels(sum(shape), *shape)
    answers = [engine.predict(batch) for engine in engines]
    for answer in answers:
        assert answer.dtype == np.float16 and answer.shape == (shape[0], 3, *shape[2:])
        np.testing.assert_allclose(answer.astype(np.float32).sum(axis=1), 1, atol=3e-3)
    for answer in answers[1:]:
        np.testing.assert_allclose(answers[0].astype(np.float32), answer.astype(np.float32), rtol=0,
                                   atol=EXPORT_TOLERANCE + FLOAT16_STEP)


def test_classes_and_confidence_are_those_of_the_probabilities(engines):
    batch = pixels(9, 2, 3, 64, 96)
    planes = engines[0].run(batch)
    best = np.sort(planes, axis=1)
    clear = best[:, -1] - best[:, -2] > 0.01
    for engine in engines:
        classes, confidence = engine.classify(batch)
        assert classes.dtype == confidence.dtype == np.uint8 and classes.shape == confidence.shape == (2, 64, 96)
        assert np.array_equal(classes[clear], planes.argmax(axis=1)[clear])
        np.testing.assert_allclose(confidence / 255, planes.max(axis=1), atol=0.5 / 255 + EXPORT_TOLERANCE)
        with pytest.raises(BundleMismatch, match="takes 3 bands"):
            engine.classify(pixels(9, 1, 4, 64, 64))


def test_an_answer_is_not_overwritten_by_the_next(engines):
    for engine in engines:
        first = engine.predict(pixels(1, 1, 3, 64, 64))
        kept = first.copy()
        engine.predict(pixels(2, 1, 3, 64, 64))
        assert np.array_equal(first, kept)


def test_non_contiguous_pixels_are_read_right(engines):
    image = pixels(3, 64, 64, 3)
    view = image.transpose(2, 0, 1)[None]
    for engine in engines:
        assert np.array_equal(engine.predict(view), engine.predict(np.ascontiguousarray(view)))


@pytest.mark.parametrize(("batch", "message"), [
    (np.zeros((1, 4, 64, 64), np.uint8), "takes 3 bands, the imagery has 4"),
    (np.zeros((1, 3, 63, 64), np.uint8), "multiples of 4"),
    (np.zeros((0, 3, 64, 64), np.uint8), "none may be 0"),
    (np.zeros((1, 3, 64, 64), np.float32), "needs uint8"),
    (np.zeros((3, 64, 64), np.uint8), "needs uint8"),
])
def test_a_batch_that_does_not_fit_is_refused(engines, batch, message):
    for engine in engines:
        with pytest.raises(BundleMismatch, match=message):
            engine.predict(batch)


def test_auto_says_why_it_chose(tiny_bundle, caplog):
    with caplog.at_level(logging.INFO):
        engine = open_engine(tiny_bundle)
    assert engine.name in ("openvino", "mxnet")
    assert f"runs on {engine.name}" in caplog.text and tiny_bundle.identity in caplog.text


def test_an_unknown_engine_is_refused(tiny_bundle):
    with pytest.raises(EngineUnavailable, match="no engine 'tensorrt'"):
        open_engine(tiny_bundle, "tensorrt")


@pytest.mark.parametrize(("name", "engine"), [("model.onnx", OpenvinoEngine), ("model-symbol.json", MxnetEngine),
                                              ("model-0000.params", MxnetEngine)])
def test_files_that_are_no_model_are_refused_with_their_name(tiny_bundle, tmp_path, name, engine):
    """Right checksum, wrong content: whoever made this bundle made it wrong."""
    directory = tmp_path / "spoilt"
    shutil.copytree(tiny_bundle.directory, directory)
    (directory / name).write_bytes(b"{}")
    files = {**tiny_bundle.card.files, name: sha256_of(directory / name)}
    Bundle(tiny_bundle.card, directory, "x").with_card(files=files)
    with pytest.raises(BundleInvalid, match="spoilt"):
        engine(Bundle.load(directory), precision="f32")


def test_engines_agree_on_the_shipped_model_and_real_pixels(data):
    bundle = Bundle.load("building")
    paths = sorted((data / "buildings" / "kampala" / "tiles").glob("*-19.png"))
    batch = np.stack([cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1) for path in paths])
    mxnet = MxnetEngine(bundle).predict(batch).astype(np.float32)
    exact = OpenvinoEngine(bundle, precision="f32").predict(batch).astype(np.float32)
    assert np.abs(mxnet - exact).max() <= EXPORT_TOLERANCE + FLOAT16_STEP
    as_shipped = OpenvinoEngine(bundle).predict(batch).astype(np.float32)
    assert (mxnet.argmax(axis=1) != as_shipped.argmax(axis=1)).mean() <= 0.02
