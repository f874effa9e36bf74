"""In which precisions a bundle may be run: measured against float32, and written into its card."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import ONNX_INT8, PRECISIONS, Bundle
from detectors.segmentation.engines import Engine, MxnetEngine, OnnxEngine, OpenvinoEngine
from detectors.segmentation.export import EXPORT_TOLERANCE
from detectors.segmentation.quantise import quantise

log = logging.getLogger(__name__)

#: Points of F1 (hundredths) that a precision may lose against float32.
POINTS_TO_LOSE = {"bf16": 0.5, "int8": 1.0}
#: The fastest first. Measured on CPUs with the instructions for it; on others they are no slower than float32, but for
#: int8 without dot products of bytes, where `auto` finds out.
FASTEST = ("int8", "bf16", "f32")


def verify_precisions(bundle: Bundle, score: Callable[[Engine], float], sample: np.ndarray) -> Bundle:
    """Measure every precision, write what came out into the card, and make the fastest allowed one the default.

    model-int8.onnx is made from the sample if the bundle has none. A precision that this machine cannot measure is not
    allowed, and the card says why.

    Args:
        score: F1 in 0..1 of an engine on ground that the model has not seen.
        sample: real pixels of the card's type [N, C, H, W]: the calibration of int8, and what probabilities are
            compared on.

    Raises:
        BundleInvalid: ONNX and MXNet differ by more than EXPORT_TOLERANCE in float32.
        EngineUnavailable: neither OpenVINO nor ONNX Runtime is installed, or MXNet is not.
        BundleMismatch: the sample does not fit the bundle.
    """
    if ONNX_INT8 not in bundle.card.files:
        try:
            bundle = quantise(bundle, sample)
        except EngineUnavailable as error:
            log.warning("no int8: %s", error)
    exact = _open(bundle, "f32", exact=True)
    reference = MxnetEngine(bundle, gpu=False)
    truth = [reference.run(tile[None]) for tile in sample]
    difference, _ = _compare(exact, sample, truth)
    if not difference <= EXPORT_TOLERANCE:
        raise BundleInvalid(
            f"{bundle.directory}: ONNX and MXNet differ by {difference:.2g}, more than {EXPORT_TOLERANCE}"
        )
    base = score(exact)
    records: dict[str, dict[str, Any]] = {
        "f32": {"f1": round(base, 4), "allowed": True, "max_difference": float(f"{difference:.2g}")}
    }
    for precision in PRECISIONS[1:]:
        records[precision] = _measure(bundle, precision, base, score, sample, truth)
        log.info("%s in %s: %s", bundle.identity, precision, records[precision])
    best = next(one for one in FASTEST if records[one]["allowed"])
    return bundle.with_card(precisions=records, precision=best)


def _measure(
    bundle: Bundle, precision: str, base: float, score: Callable[[Engine], float], sample: np.ndarray,
    truth: list[np.ndarray],
) -> dict[str, Any]:
    if precision == "int8" and ONNX_INT8 not in bundle.card.files:
        return {"allowed": False, "note": "not made: onnxruntime was not installed"}
    try:
        engine = _open(bundle, precision, forced=True)
    except EngineUnavailable as error:
        return {"allowed": False, "note": str(error)}
    if precision == "bf16" and engine.floats != "bf16":
        return {"allowed": False, "note": "not measured: made on a CPU that has no bfloat16"}
    f1 = score(engine)
    lost = round(100 * (base - f1), 2)
    difference, disagreement = _compare(engine, sample, truth)
    return {
        "f1": round(f1, 4), "points_lost": lost, "allowed": bool(lost <= POINTS_TO_LOSE[precision]),
        "max_difference": float(f"{difference:.2g}"), "argmax_disagreement": float(f"{disagreement:.2g}"),
        "engine": engine.name, "device": engine.device,
    }


def _open(bundle: Bundle, precision: str, *, forced: bool = False, exact: bool = False) -> Engine:
    """On OpenVINO, and where that is not installed on ONNX Runtime."""
    try:
        return OpenvinoEngine(bundle, precision=precision, forced=forced, exact=exact)
    except EngineUnavailable:
        return OnnxEngine(bundle, precision=precision, gpu=False, forced=forced, exact=exact)


def _compare(engine: Engine, sample: np.ndarray, truth: list[np.ndarray]) -> tuple[float, float]:
    """(largest difference of any probability, share of pixels whose likeliest class is another one)"""
    largest, others = 0.0, []
    for tile, planes in zip(sample, truth, strict=True):
        answer = engine.run(tile[None]).astype(np.float32)
        largest = max(largest, float(np.abs(answer - planes).max()))
        others.append((answer.argmax(axis=1) != planes.argmax(axis=1)).mean())
    return largest, float(np.mean(others))
