"""ONNX Runtime on the exported ONNX: GPUs through TensorRT or CUDA, and any CPU."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import ONNX, ONNX_INT8, Bundle
from detectors.segmentation.engines.base import (
    STEPS,
    Engine,
    default_precision,
    first_line,
    int8_path,
    require_precision,
    require_threads,
)
from detectors.segmentation.mxnet_runtime import usable_cpus

#: The fastest first; each takes over what the one before cannot run.
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
#: What it can compute in.
PRECISIONS = ("f32", "int8")


class OnnxEngine(Engine):
    """ONNX Runtime with the providers that are installed and find their device."""

    name = "onnx"

    def __init__(
        self, bundle: Bundle, threads: int = 0, *, precision: str | None = None, gpu: bool = True, forced: bool = False,
        exact: bool = False,
    ):
        """
        Args:
            threads: of the CPU provider; 0 for all usable cores.
            precision: "f32" or "int8"; the card's by default if it is one of them, else f32.
            gpu: use TensorRT and CUDA where they are.
            forced: run in a precision that the card does not allow, to measure it.
            exact: `run` gives float32 instead of float16, to compare engines.

        Raises:
            EngineUnavailable: ONNX Runtime or onnx is not installed, or cannot compute in this precision.
            BundleMismatch: the card does not allow the precision.
            BundleInvalid: the ONNX file cannot be opened.
        """
        super().__init__(bundle)
        require_threads(threads)
        default = default_precision(bundle.card)
        self.precision = precision or (default if default in PRECISIONS else "f32")
        if self.precision not in PRECISIONS:
            raise EngineUnavailable(f"ONNX Runtime computes in {' or '.join(PRECISIONS)} here, not in {self.precision}")
        if not forced:
            require_precision(bundle, self.precision)
        self._runtime = _load()
        self._path = int8_path(bundle) if self.precision == "int8" else bundle.path(ONNX)
        self._threads = threads or usable_cpus()
        present = self._runtime.get_available_providers()
        self._providers = [name for name in PROVIDERS if name in present and (gpu or name == PROVIDERS[-1])]
        self._exact = exact
        self._planes = self._open(_with_planes)
        self._classes = None
        used = [name.removesuffix("ExecutionProvider").lower() for name in self._planes.get_providers()]
        self.device = f"{'+'.join(used)}({self.precision})"

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU does the work: providers that find no device drop out when a session is opened."""
        return self._planes.get_providers()[0] != PROVIDERS[-1]

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._planes.run(None, {self._planes.get_inputs()[0].name: batch})[0]

    def run_classes(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._classes is None:  # another graph, and most engines are asked for one of the two only
            self._classes = self._open(_with_classes)
        classes, confidence = self._classes.run(None, {self._classes.get_inputs()[0].name: batch})
        return classes, confidence

    def _open(self, ending):
        import onnx
        from google.protobuf.message import DecodeError

        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        try:
            model = onnx.load(str(self._path))
            if not (self._exact and ending is _with_planes):
                ending(model)
            return self._runtime.InferenceSession(
                model.SerializeToString(), options, providers=[(name, self._settings(name)) for name in self._providers]
            )
        except (DecodeError, ValueError, IndexError, RuntimeError, *self._failure) as error:
            raise BundleInvalid(f"{self._path}: ONNX Runtime cannot run it: {first_line(error)}") from error

    @property
    def _failure(self) -> tuple[type[Exception], ...]:
        """Its exceptions have no common root but Exception."""
        state = self._runtime.capi.onnxruntime_pybind11_state
        return (state.Fail, state.InvalidGraph, state.InvalidArgument, state.InvalidProtobuf, state.NotImplemented,
                state.NoModel, state.RuntimeException, state.EPFail)

    def _settings(self, provider: str) -> dict[str, str]:
        """TensorRT builds its engine for minutes, so it is kept, by the file it was built from."""
        if provider != PROVIDERS[0]:
            return {}
        digest = self.bundle.card.files[ONNX_INT8 if self.precision == "int8" else ONNX][:16]
        user = hashlib.sha256(str(Path.home()).encode()).hexdigest()[:8]
        kept = Path(tempfile.gettempdir()) / f"mapgap-tensorrt-{user}" / digest
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        return {
            "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(kept),
            "trt_int8_enable": str(self.precision == "int8"),
        }


def has_gpu() -> bool:
    """Whether ONNX Runtime is one for GPUs, and there is a device for it. Loads it only where there is a device."""
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        return False
    try:
        return any(name in _load().get_available_providers() for name in PROVIDERS[:-1])
    except EngineUnavailable:
        return False


def _load():
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except (ImportError, OSError) as error:
        raise EngineUnavailable(
            f"ONNX Runtime cannot be loaded: {error}; pip install 'mapgap[train]' (on a machine with an NVIDIA GPU: "
            "onnxruntime-gpu), or set detectors.engine = \"openvino\""
        ) from error
    return onnxruntime


def _with_planes(model) -> None:
    """The output becomes float16."""
    from onnx import TensorProto, helper

    planes = model.graph.output[0]
    model.graph.node.append(helper.make_node("Cast", [planes.name], ["mapgap_planes"], to=TensorProto.FLOAT16))
    shape = [d.dim_param or d.dim_value for d in planes.type.tensor_type.shape.dim]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("mapgap_planes", TensorProto.FLOAT16, shape))


def _with_classes(model) -> None:
    """Two outputs, uint8 [N, H, W] each: the likeliest class, and its probability in 1/255."""
    from onnx import TensorProto, helper, numpy_helper

    planes = model.graph.output[0].name
    shape = [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    model.graph.initializer.append(numpy_helper.from_array(np.array(STEPS, np.float32), "mapgap_steps"))
    model.graph.node.extend([
        helper.make_node("ArgMax", [planes], ["mapgap_index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["mapgap_index"], ["mapgap_classes"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", [planes], ["mapgap_best"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mapgap_best", "mapgap_steps"], ["mapgap_scaled"]),
        helper.make_node("Round", ["mapgap_scaled"], ["mapgap_rounded"]),
        helper.make_node("Cast", ["mapgap_rounded"], ["mapgap_confidence"], to=TensorProto.UINT8),
    ])
    del model.graph.output[:]
    for name in ("mapgap_classes", "mapgap_confidence"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, [shape[0], *shape[2:]]))
