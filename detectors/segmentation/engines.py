"""What runs a bundle: one interface, two engines.

    MxnetEngine      the reference; the first GPU that MXNet sees, else the CPU
    OpenvinoEngine   model.onnx on CPUs, about 1.5 times as fast in float32

Both take uint8 or uint16 [N, C, H, W] and give float16 probabilities [N, K, H, W]. An engine belongs to one thread.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from abc import ABC, abstractmethod

import numpy as np

from detectors.errors import BundleInvalid, BundleMismatch, EngineUnavailable
from detectors.segmentation.bundle import ONNX, PARAMS, SYMBOL, Bundle
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, default_context, gpu_count, load_mxnet, usable_cpus

log = logging.getLogger(__name__)


class Engine(ABC):
    """Runs one bundle.

    Attributes:
        name: "mxnet" or "openvino".
        device: where it runs, for logs.
    """

    name: str
    device: str

    def __init__(self, bundle: Bundle):
        self.bundle = bundle

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Class probabilities.

        Args:
            batch: pixels of the card's type [N, C, H, W]; H and W multiples of the card's stride.

        Returns:
            float16 [N, K, H, W] in 0..1.

        Raises:
            BundleMismatch: another type, other bands or other sides than the bundle takes.
        """
        card = self.bundle.card
        if batch.dtype != card.dtype or batch.ndim != 4:
            raise BundleMismatch(f"engine needs {card.dtype} [N, C, H, W], not {batch.dtype} {list(batch.shape)}")
        if batch.shape[1] != card.bands:
            raise BundleMismatch(
                f"model {self.bundle.identity} takes {card.bands} bands, the imagery has {batch.shape[1]}"
            )
        if batch.shape[2] % card.stride or batch.shape[3] % card.stride or 0 in batch.shape:
            raise BundleMismatch(f"sides must be multiples of {card.stride} and none may be 0: {list(batch.shape)}")
        return self.run(np.ascontiguousarray(batch)).astype(np.float16)

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """`predict` without checks, in float32."""


class MxnetEngine(Engine):
    """MXNet 1.9 on a GPU or the CPU."""

    name = "mxnet"

    def __init__(self, bundle: Bundle, threads: int = 0, *, gpu: bool = True):
        """
        Args:
            threads: 0 for all usable cores; only the first use of MXNet in a process has a say.
            gpu: use the first GPU if MXNet sees one.

        Raises:
            EngineUnavailable: MXNet cannot be loaded.
            BundleInvalid: the files are no MXNet model of one input.
        """
        super().__init__(bundle)
        mx = load_mxnet(threads)
        self._nd = mx.nd
        self._context = default_context() if gpu else mx.cpu()
        self.device = str(self._context)
        try:
            with warnings.catch_warnings():
                # The graph casts its input, so MXNet cannot infer the input's type; it is given with each batch.
                warnings.filterwarnings("ignore", "Cannot decide type", UserWarning)
                self._network = mx.gluon.SymbolBlock.imports(
                    str(bundle.path(SYMBOL)), ["data"], str(bundle.path(PARAMS)), ctx=self._context
                )
        except (mx.base.MXNetError, ValueError, KeyError, AssertionError, RuntimeError) as error:
            raise BundleInvalid(f"{bundle.directory}: MXNet cannot open the model: {_first_line(error)}") from error
        # Without static_alloc a block hung now and then when called from several threads.
        self._network.hybridize(static_alloc=True, static_shape=True)

    def run(self, batch: np.ndarray) -> np.ndarray:
        data = self._nd.array(batch, ctx=self._context, dtype=MXNET_INPUT[self.bundle.card.dtype])
        return self._network(data).asnumpy()


class OpenvinoEngine(Engine):
    """OpenVINO on the exported ONNX."""

    name = "openvino"

    def __init__(self, bundle: Bundle, threads: int = 0, *, precision: str | None = None):
        """
        Args:
            threads: 0 for all usable cores.
            precision: "f32" or "bf16" (where the CPU has it); the card's by default.

        Raises:
            EngineUnavailable: OpenVINO is not installed.
            BundleInvalid: model.onnx cannot be compiled.
        """
        super().__init__(bundle)
        try:
            import openvino
        except (ImportError, OSError) as error:
            raise EngineUnavailable(
                f'OpenVINO cannot be loaded: {error}; pip install openvino, or set detectors.engine = "mxnet"'
            ) from error
        precision = precision or bundle.card.precision
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_cpus(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        core = openvino.Core()
        try:
            model = core.read_model(str(bundle.path(ONNX)))
            self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise BundleInvalid(f"{bundle.path(ONNX)}: OpenVINO cannot run it: {_first_line(error)}") from error
        self.device = f"cpu({precision})"

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._request.infer({0: batch}, share_inputs=True)
        return self._request.get_output_tensor(0).data


def open_engine(bundle: Bundle, engine: str = "auto", threads: int = 0) -> Engine:
    """The engine asked for; "auto" takes MXNet on a GPU, else OpenVINO, else MXNet on the CPU.

    Args:
        engine: "auto", "mxnet" or "openvino".
        threads: 0 for all usable cores.

    Raises:
        EngineUnavailable: it cannot run on this machine, or there is no engine of that name.
    """
    if engine == "auto":
        engine, reason = _choose(threads)
    elif engine in ("mxnet", "openvino"):
        reason = "as configured"
    else:
        raise EngineUnavailable(f'no engine {engine!r}; there are "auto", "mxnet" and "openvino"')
    opened = MxnetEngine(bundle, threads) if engine == "mxnet" else OpenvinoEngine(bundle, threads)
    log.info("model %s runs on %s (%s): %s", bundle.identity, opened.name, opened.device, reason)
    return opened


def _choose(threads: int) -> tuple[str, str]:
    has_openvino = importlib.util.find_spec("openvino") is not None
    has_mxnet = importlib.util.find_spec("mxnet") is not None
    if has_mxnet and gpu_count(threads) > 0:
        return "mxnet", "MXNet sees a GPU"
    if has_openvino:
        return "openvino", "no GPU that MXNet could use, OpenVINO is the fastest on CPUs"
    if has_mxnet:
        return "mxnet", "OpenVINO is not installed"
    raise EngineUnavailable("neither OpenVINO nor MXNet is installed; pip install mapgap brings both")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
