"""8 bits: every network can be quantised, the answer stays, and what was not measured is not used."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from detectors.errors import BundleInvalid, BundleMismatch
from detectors.segmentation import Bundle, MxnetEngine, OnnxEngine, OpenvinoEngine, open_engine
from detectors.segmentation.bundle import CARD, FORMAT, ONNX, ONNX_INT8, PARAMS, SYMBOL, Card, sha256_of, write_card
from detectors.segmentation.engines.cpu import multiplies_bytes_exactly
from detectors.segmentation.export import export_mxnet, export_onnx
from detectors.segmentation.mxnet_runtime import MXNET_INPUT
from detectors.segmentation.networks import NETWORKS, build, stride_of
from detectors.segmentation.precisions import verify_precisions
from detectors.segmentation.quantise import quantise
from detectors.training.config import Model

pytest.importorskip("onnxruntime")

CLASSES = ("background", "building", "border")
SIDE = 64


@pytest.fixture
def bundle(tiny_bundle, tmp_path) -> Bundle:
    """A trained bundle that may be changed, without figures of any precision."""
    directory = tmp_path / "copy"
    shutil.copytree(tiny_bundle.directory, directory)
    files = {name: sha256_of(directory / name) for name in (SYMBOL, PARAMS, ONNX)}
    (directory / ONNX_INT8).unlink(missing_ok=True)
    card = tiny_bundle.card.model_copy(update={"files": files, "precisions": {}, "precision": "f32"})
    write_card(card, directory)
    return Bundle.load(directory)


def town(count: int, bands: int = 3, dtype: str = "uint8") -> np.ndarray:
    """Bright roofs on dark ground [N, C, 64, 64], as the tiny network knows them."""
    random = np.random.default_rng(count)
    image = random.normal(70, 12, (count, bands, SIDE, SIDE))
    for number in range(count):
        top, left = random.integers(0, SIDE - 24, 2)
        image[number, :, top : top + 22, left : left + 20] += 105
    return np.clip(image * (1 if dtype == "uint8" else 100), 0, None).astype(dtype)


def footprint(engine, tiles: np.ndarray) -> np.ndarray:
    return engine.bundle.footprint_of(engine.predict(tiles)) > 0.5


def truth_score(tiles: np.ndarray):
    """F1 of roofs, which are bright."""
    truth = tiles.mean(axis=1) > 120

    def score(engine) -> float:
        found = footprint(engine, tiles)
        return 2 * (found & truth).sum() / (found.sum() + truth.sum())

    return score


@pytest.mark.parametrize(("network", "dtype", "standardise"), [
    *((name, "uint8", False) for name in NETWORKS), ("lite0-unet", "uint16", False), ("unet", "uint16", True),
])
def test_every_network_says_the_same_on_every_engine(tmp_path, network, dtype, standardise):
    fused = network == "fusion-unet"
    bands = 5 if fused else 4
    scale = 1 if dtype == "uint8" else 100
    model = Model(
        name="untrained", network=network, pretrained=False, bands=bands, dtype=dtype,
        osm_bands=("building", "building_distance") if fused else (),
        widths=(8, 8, 16, 16) if network == "lite0-unet" else (8, 16, 16), mean=(80.0 * scale,) * bands,
        std=(40.0 * scale,) * bands, standardise=standardise,
    )
    tiles = town(2, bands, dtype)
    bundle = untrained(model, tmp_path, tiles)
    reference = MxnetEngine(bundle, gpu=False)
    planes = reference.run(tiles)
    for engine in (OpenvinoEngine(bundle, precision="f32", exact=True), OnnxEngine(bundle, precision="f32", gpu=False,
                                                                                 exact=True)):
        assert np.abs(engine.run(tiles) - planes).max() <= 1e-3, engine.name
    bundle = quantise(bundle, tiles)
    answers = [engine(bundle, precision="int8", forced=True).predict(tiles) for engine in (OpenvinoEngine, OnnxEngine)]
    exact, rounded = (answer.astype(np.float32) for answer in answers)
    # What two programs make of the same file is the same; but untrained networks have no opinion, and a pixel between
    # two classes may jump, most of all where logits are as large as in a ResNet.
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean() > 0.8
    assert np.abs(exact - rounded).mean() < (0.25 if network == "fcn-resnet50" else 0.05)
    assert np.abs(rounded - planes).mean() < (0.25 if network == "fcn-resnet50" else 0.05)


def untrained(model: Model, directory: Path, tiles: np.ndarray) -> Bundle:
    """A network with random weights, that knows at least how large its activations are."""
    network = build(model)
    import mxnet as mx

    pixels = mx.nd.array(tiles, dtype=MXNET_INPUT[model.dtype])
    with mx.autograd.train_mode():
        for _ in range(30):
            network(pixels).wait_to_read()
    export_mxnet(network, model.bands, model.dtype, SIDE, directory)
    export_onnx(directory, model.bands, model.dtype, len(model.classes), SIDE)
    card = Card(
        format=FORMAT, name="untrained", bands=model.bands, dtype=model.dtype, osm_bands=model.osm_bands,
        classes=model.classes, stride=stride_of(model), gsd_m=0.3, gsd_range_m=(0.2, 0.4), mean=model.mean,
        std=model.std, files={name: sha256_of(directory / name) for name in (SYMBOL, PARAMS, ONNX)},
    )
    write_card(card, directory)
    return Bundle.load(directory)


def test_weights_are_a_byte_each_and_the_bundle_knows_the_file(bundle):
    made = quantise(bundle, town(8))
    graph = onnx.load(str(made.path(ONNX_INT8))).graph
    kinds = [node.op_type for node in graph.node]
    assert "QuantizeLinear" in kinds and "BatchNormalization" not in kinds and "Concat" not in kinds
    weights = [t for t in graph.initializer if len(t.dims) == 4]
    quantised = sum(int(np.prod(t.dims)) for t in weights if t.data_type == onnx.TensorProto.INT8)
    assert quantised > 0.9 * sum(int(np.prod(t.dims)) for t in weights)
    assert Bundle.load(bundle.directory).card.files[ONNX_INT8] == sha256_of(made.path(ONNX_INT8))


def test_what_was_never_measured_is_refused(bundle):
    made = quantise(bundle, town(4))
    for engine in ("openvino", "onnx", "auto"):
        with pytest.raises(BundleMismatch, match="may not be run in int8: it was never measured; use f32"):
            open_engine(made, engine, precision="int8")


@pytest.mark.skipif(not multiplies_bytes_exactly(), reason="this CPU adds up products of bytes in 16 bits")
def test_measured_precisions_are_written_into_the_card_and_used(bundle):
    tiles = town(12)
    made = verify_precisions(bundle, truth_score(town(20)), tiles)
    records = Bundle.load(bundle.directory).card.precisions
    assert records == made.card.precisions
    assert records["f32"]["allowed"] and records["f32"]["f1"] > 0.8 and records["f32"]["max_difference"] <= 1e-3
    assert records["int8"]["allowed"] and abs(records["int8"]["points_lost"]) <= 1
    assert made.card.precision == "int8" and OpenvinoEngine(made).precision == "int8"
    assert OnnxEngine(made, gpu=False).precision == "int8"
    tiles = town(30)
    exact, rounded = (footprint(OpenvinoEngine(made, precision=p), tiles) for p in ("f32", "int8"))
    assert (exact != rounded).mean() < 0.01


def test_a_precision_that_loses_too_much_is_refused_with_its_figure(bundle):
    lost = {"f32": 0.80, "bf16": 0.7951, "int8": 0.7899}
    made = verify_precisions(bundle, lambda engine: lost[engine.precision], town(4))
    assert made.card.precisions["int8"]["points_lost"] == pytest.approx(1.01)
    assert not made.card.precisions["int8"]["allowed"] and made.card.precision != "int8"
    with pytest.raises(BundleMismatch, match=r"may not be run in int8: it loses 1.01 points of F1; use f32"):
        OpenvinoEngine(made, precision="int8")
    bf16 = made.card.precisions["bf16"]
    assert bf16["allowed"] or "no bfloat16" in bf16["note"]


def test_an_export_that_differs_is_refused(bundle):
    model = onnx.load(str(bundle.path(ONNX)))
    head = next(t for t in model.graph.initializer if t.name.endswith("head_weight"))
    values = onnx.numpy_helper.to_array(head) * 1.5
    head.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), head.name))
    onnx.save(model, str(bundle.path(ONNX)))
    spoilt = bundle.with_card(files={**bundle.card.files, ONNX: sha256_of(bundle.path(ONNX))})
    with pytest.raises(BundleInvalid, match=r"ONNX and MXNet differ by 0\.\d+, more than 0.001"):
        verify_precisions(spoilt, lambda engine: 1.0, town(2))


@pytest.mark.parametrize(("tiles", "message"), [
    (np.zeros((0, 3, 64, 64), np.uint8), "N > 0"),
    (np.zeros((2, 4, 64, 64), np.uint8), r"\[N, 3, H, W\]"),
    (np.zeros((2, 3, 64, 64), np.float32), "needs uint8"),
    (np.zeros((2, 3, 63, 64), np.uint8), "multiples of 4"),
])
def test_calibration_that_does_not_fit_is_refused(bundle, tiles, message):
    with pytest.raises(BundleMismatch, match=message):
        quantise(bundle, tiles)


def test_a_card_that_allows_int8_without_the_file_is_refused(bundle):
    made = bundle.with_card(precisions={"int8": {"allowed": True}}, precision="int8")
    for engine in ("openvino", "onnx"):
        with pytest.raises(BundleInvalid, match=rf"{CARD}: int8 needs {ONNX_INT8}, which the bundle does not have"):
            open_engine(made, engine, precision="int8")


def test_a_broken_int8_file_is_refused_and_auto_does_without(bundle):
    made = quantise(bundle, town(4)).with_card(precisions={"int8": {"allowed": True}}, precision="int8")
    made.path(ONNX_INT8).write_bytes(made.path(ONNX_INT8).read_bytes()[:1000])
    with pytest.raises(BundleInvalid, match=rf"{ONNX_INT8}: sha256"):
        Bundle.load(made.directory)
    made = made.with_card(files={**made.card.files, ONNX_INT8: sha256_of(made.path(ONNX_INT8))})
    for engine in ("openvino", "onnx"):
        with pytest.raises(BundleInvalid, match=ONNX_INT8):
            open_engine(Bundle.load(made.directory), engine, precision="int8")
    assert open_engine(made).precision == "f32"
