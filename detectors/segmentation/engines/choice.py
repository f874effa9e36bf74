"""The engine asked for; "auto" is the fastest that runs here and that the card allows."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import onnx, probe
from detectors.segmentation.engines.base import Engine, default_precision, precisions_here, require_threads
from detectors.segmentation.engines.mxnet import MxnetEngine
from detectors.segmentation.engines.onnx import OnnxEngine
from detectors.segmentation.engines.openvino import OpenvinoEngine
from detectors.segmentation.engines.probe import Candidate
from detectors.segmentation.mxnet_runtime import gpu_count

log = logging.getLogger(__name__)

ENGINES: dict[str, type[Engine]] = {"mxnet": MxnetEngine, "onnx": OnnxEngine, "openvino": OpenvinoEngine}
#: What each computes in, the quickest first.
PRECISIONS = {"mxnet": ("f32",), "onnx": ("int8", "f32"), "openvino": ("int8", "bf16", "f32")}
#: Seconds that loading MXNet takes.
MXNET_LOAD_S = 1.2


def open_engine(
    bundle: Bundle, engine: str = "auto", threads: int = 0, *, precision: str | None = None, memory: Path | None = None
) -> Engine:
    """The engine asked for, or, "auto", the fastest by a probe of `probe.BUDGET_S` seconds at most.

    Args:
        engine: "auto", "mxnet", "onnx" or "openvino".
        threads: 0 for all usable cores.
        precision: "f32", "bf16" or "int8"; None: with "auto" whatever is fastest, else the card's if the engine has
            it, else the quickest that engine and card have in common.
        memory: directory in which the outcome of a probe is kept for the next time; None: not kept.

    Raises:
        EngineUnavailable: it cannot run on this machine, or there is no engine of that name.
        BundleMismatch: the card does not allow the precision.
        BundleInvalid: the engine cannot open the model.
    """
    require_threads(threads)
    if engine == "auto":
        return _open_fastest(bundle, threads, precision, memory)
    if engine not in ENGINES:
        raise EngineUnavailable(f'no engine {engine!r}; there are "auto", {", ".join(map(repr, sorted(ENGINES)))}')
    opened = ENGINES[engine](bundle, threads, precision=precision or _precision_of(bundle, engine))
    log.info("model %s runs on %s (%s): as configured", bundle.identity, opened.name, opened.device)
    return opened


def candidates(bundle: Bundle, threads: int = 0, precision: str | None = None) -> list[Candidate]:
    """Engine and precision of all that is installed and allowed, those expected to be faster first.

    MXNet on a CPU is only among them where there is nothing else: loading it would take half of a probe, and in float32
    it is slower than the others in float32.
    """
    installed = {
        "openvino": _installed("openvino"),
        "onnx": _installed("onnxruntime") and _installed("onnx"),
        "mxnet": _installed("mxnet"),
    }
    allowed = precisions_here(bundle.card) if precision is None else (precision,)
    found = [
        Candidate(name, one)
        for one in ("int8", "bf16", "f32")
        for name in ("openvino", "onnx")
        if installed[name] and one in PRECISIONS[name] and one in allowed
    ]
    mxnet = [Candidate("mxnet", "f32")] if installed["mxnet"] and "f32" in allowed else []
    if mxnet and gpu_count(threads) > 0:
        return mxnet + _gpu_first(found, installed["onnx"])
    return _gpu_first(found, installed["onnx"]) or mxnet


def _open_fastest(bundle: Bundle, threads: int, precision: str | None, memory: Path | None) -> Engine:
    found = candidates(bundle, threads, precision)
    if not found:
        raise EngineUnavailable(
            f"no installed engine runs {bundle.identity}{f' in {precision}' if precision else ''}; "
            "pip install mapgap brings OpenVINO and MXNet"
        )
    open_one = _opener(bundle, threads)
    if len(found) == 1:
        opened = open_one(found[0])
        log.info("model %s runs on %s (%s): there is no other", bundle.identity, opened.name, opened.device)
        return opened
    key = probe.key_of(bundle, threads, found)
    remembered = probe.recall(memory, key, found) if memory else None
    if remembered:
        try:
            opened = open_one(remembered.candidate)
            log.info(
                "model %s runs on %s (%s): the fastest when measured on %s: %s", bundle.identity, opened.name,
                opened.device, remembered.day, remembered.figures,
            )
            return opened
        except (EngineUnavailable, BundleInvalid) as error:
            log.warning("%s was the fastest, but cannot be opened now: %s", remembered.candidate, error)
    opened, measured = probe.fastest(found, open_one, bundle.card, _costs, probe.BUDGET_S)
    if memory:
        probe.remember(memory, key, measured)
    log.info(
        "model %s runs on %s (%s): the fastest by a probe of %.1f s: %s", bundle.identity, opened.name, opened.device,
        measured.seconds, measured.figures,
    )
    return opened


def _opener(bundle: Bundle, threads: int):
    return lambda candidate: ENGINES[candidate.engine](bundle, threads, precision=candidate.precision)


def _costs(candidate: Candidate) -> float:
    """Seconds that must be left of a probe before an engine is opened; loading a library cannot be broken off."""
    return MXNET_LOAD_S if candidate.engine == "mxnet" and "mxnet" not in sys.modules else 0.0


def _gpu_first(found: list[Candidate], has_onnx: bool) -> list[Candidate]:
    if not has_onnx or not onnx.has_gpu():
        return found
    return sorted(found, key=lambda candidate: candidate.engine != "onnx")


def _precision_of(bundle: Bundle, engine: str) -> str | None:
    allowed = precisions_here(bundle.card)
    if (default := default_precision(bundle.card)) in PRECISIONS[engine]:
        return default
    # None has the engine say what is wrong.
    return next((one for one in PRECISIONS[engine] if one in allowed), None)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
