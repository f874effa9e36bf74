"""OpenVINO on the exported ONNX: the fastest on CPUs."""

from __future__ import annotations

import numpy as np

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import ONNX, Bundle
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


class OpenvinoEngine(Engine):
    """OpenVINO on the CPU.

    8 bits come from model-int8.onnx, whose other layers are computed in what suits the CPU best: bfloat16 where it has
    that.
    """

    name = "openvino"

    def __init__(
        self, bundle: Bundle, threads: int = 0, *, precision: str | None = None, forced: bool = False,
        exact: bool = False,
    ):
        """
        Args:
            threads: 0 for all usable cores.
            precision: "f32", "bf16" (where the CPU has it, else f32) or "int8"; the card's by default.
            forced: run in a precision that the card does not allow, to measure it.
            exact: `run` gives float32 instead of float16, to compare engines.

        Raises:
            EngineUnavailable: OpenVINO is not installed, or there is no such precision.
            BundleMismatch: the card does not allow the precision.
            BundleInvalid: the ONNX file cannot be compiled.
        """
        super().__init__(bundle)
        require_threads(threads)
        self.precision = precision or default_precision(bundle.card)
        if not forced:
            require_precision(bundle, self.precision)
        self._openvino = _load()
        self._path = int8_path(bundle) if self.precision == "int8" else bundle.path(ONNX)
        self._settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads or usable_cpus()}
        if self.precision != "int8":
            self._settings["INFERENCE_PRECISION_HINT"] = self.precision
        model = self._read()
        if not exact:
            steps = self._openvino.preprocess.PrePostProcessor(model)
            steps.output().tensor().set_element_type(self._openvino.Type.f16)
            model = steps.build()
        compiled = self._compile(model)
        #: What float layers are really computed in on this CPU.
        self.floats = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.device = f"cpu({self.precision}, floats {self.floats})"
        self._request = compiled.create_infer_request()
        self._classifier = None

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._request.infer({0: self._given(batch)}, share_inputs=True)
        return self._request.get_output_tensor(0).data.copy()

    def run_classes(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._classifier is None:  # another graph, and most engines are asked for one of the two only
            model = _with_classes(self._openvino, self._read())
            self._classifier = self._compile(model).create_infer_request()
        self._classifier.infer({0: self._given(batch)}, share_inputs=True)
        classes, confidence = (self._classifier.get_output_tensor(i).data.copy() for i in (0, 1))
        return classes, confidence

    def _given(self, batch: np.ndarray) -> np.ndarray:
        return batch.astype(np.int32) if batch.dtype == np.uint16 else batch

    def _read(self):
        """The network, taking int32 in place of uint16, which OpenVINO's 8 bit layers cannot follow."""
        try:
            model = self._openvino.Core().read_model(str(self._path))
            if self.bundle.card.dtype == "uint16":
                (given,) = model.get_parameters()
                given.set_element_type(self._openvino.Type.i32)
                model.validate_nodes_and_infer_types()
        except (RuntimeError, ValueError) as error:
            raise BundleInvalid(f"{self._path}: OpenVINO cannot run it: {first_line(error)}") from error
        return model

    def _compile(self, model):
        try:
            return self._openvino.Core().compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            raise BundleInvalid(f"{self._path}: OpenVINO cannot run it: {first_line(error)}") from error


def _load():
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise EngineUnavailable(
            f'OpenVINO cannot be loaded: {error}; pip install openvino, or set detectors.engine = "mxnet"'
        ) from error
    return openvino


def _with_classes(openvino, model):
    """The same network with two outputs, uint8 [N, H, W] each: the likeliest class, and its probability in 1/255."""
    from openvino import opset13 as ops

    (given,) = model.outputs
    planes = given.node.input_value(0)
    best = ops.topk(planes, ops.constant(1, np.int32), axis=1, mode="max", sort="none", index_element_type="i32")
    axis = ops.constant(np.array([1], np.int64))
    classes = ops.convert(ops.squeeze(best.output(1), axis), "u8")
    steps = ops.round(ops.multiply(ops.squeeze(best.output(0), axis), ops.constant(np.float32(STEPS))), "half_to_even")
    return openvino.Model([classes, ops.convert(steps, "u8")], model.get_parameters(), "classifier")
