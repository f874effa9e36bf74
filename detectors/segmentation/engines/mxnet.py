"""MXNet 1.9 on a GPU or the CPU: the reference that the others are held against."""

from __future__ import annotations

import warnings

import numpy as np

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import PARAMS, SYMBOL, Bundle
from detectors.segmentation.engines.base import STEPS, Engine, first_line, require_threads
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, default_context, load_mxnet


class MxnetEngine(Engine):
    """MXNet, in float32: its own 8 bit networks are wrong where there are residual connections."""

    name = "mxnet"

    def __init__(self, bundle: Bundle, threads: int = 0, *, precision: str | None = None, gpu: bool = True):
        """
        Args:
            threads: 0 for all usable cores; only the first use of MXNet in a process has a say.
            precision: "f32" or None, there is no other.
            gpu: use the first GPU if MXNet sees one.

        Raises:
            EngineUnavailable: MXNet cannot be loaded, or cannot do so.
            BundleInvalid: the files are no MXNet model of one input.
        """
        super().__init__(bundle)
        require_threads(threads)
        if precision not in (None, "f32"):
            raise EngineUnavailable(f"MXNet computes in f32 here, not in {precision}; use openvino")
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
            raise BundleInvalid(f"{bundle.directory}: MXNet cannot open the model: {first_line(error)}") from error
        # Without static_alloc a block hung now and then when called from several threads.
        self._network.hybridize(static_alloc=True, static_shape=True)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._planes(batch).asnumpy()

    def run_classes(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        planes = self._planes(batch)
        classes = self._nd.argmax(planes, axis=1).astype("uint8")
        confidence = self._nd.rint(self._nd.max(planes, axis=1) * STEPS).astype("uint8")
        return classes.asnumpy(), confidence.asnumpy()

    def _planes(self, batch: np.ndarray):
        data = self._nd.array(batch, ctx=self._context, dtype=MXNET_INPUT[self.bundle.card.dtype])
        return self._network(data)
