"""The only place that imports MXNet 1.9.1, and what has to be true before it is imported.

* MXNet reads OMP_NUM_THREADS once, while it is loaded; unset, it takes half of the cores (src/engine/openmp.cc halves
  omp_get_num_procs()). So the variable is set from this process's CPU affinity first.
* MXNet uses `numpy.bool`, gone from NumPy since 1.24, while it is imported and while it runs.
* On Python 3.12 and later it looks for `distutils.version`, gone from the standard library.
* `nd.array` looks for the module `scipy.sparse.csr`, which warns today and is gone in SciPy 2.
* Its ONNX exporter looks for `onnx.mapping`, gone from onnx since 1.15.

Importing this module imports nothing heavy; `load_mxnet()` does.
"""

from __future__ import annotations

import logging
import os
import sys
import types
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from detectors.errors import EngineUnavailable

log = logging.getLogger(__name__)

#: Type in which MXNet, which has no uint16, gets pixels of each type.
MXNET_INPUT = {"uint8": "uint8", "uint16": "int32"}


def usable_cpus() -> int:
    """Cores that this process may use; never less than 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS
        return max(1, os.cpu_count() or 1)


@cache
def load_mxnet(threads: int = 0) -> ModuleType:
    """Import MXNet, ready to use, with as many threads as asked for.

    Args:
        threads: threads of its operators; 0 means all usable cores. Only the first call in a process has a say,
            and an OMP_NUM_THREADS set by the user is kept.

    Raises:
        EngineUnavailable: MXNet is not installed or cannot be loaded on this machine.
    """
    if "mxnet" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads or usable_cpus()))
        # A test through hasattr() would make NumPy warn.
        if "bool" not in np.__dict__:
            np.bool = bool  # type: ignore[attr-defined]
        _provide_distutils()
    try:
        with warnings.catch_warnings():
            # It walks through names that NumPy has withdrawn.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            import mxnet
    except (ImportError, OSError) as error:
        raise EngineUnavailable(
            f"MXNet cannot be loaded: {error}. Install mxnet 1.9.1 (Linux, or macOS on Intel), or set "
            'detectors.engine = "openvino"'
        ) from error
    _forget_scipy(mxnet)
    log.debug("MXNet %s, OMP_NUM_THREADS=%s", mxnet.__version__, os.environ.get("OMP_NUM_THREADS"))
    return mxnet


@cache
def gpu_count(threads: int = 0) -> int:
    """GPUs that MXNet sees; 0 with the CPU-only wheel or without a driver.

    Without the device files of a driver MXNet is not even loaded: that would cost a second and 200 MB for nothing.
    """
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        return 0
    mx = load_mxnet(threads)
    try:
        return int(mx.context.num_gpus())
    except mx.base.MXNetError as error:
        log.info("MXNet cannot ask for GPUs, so the CPU is used: %s", str(error).splitlines()[0])
        return 0


def default_context():
    """The first GPU if MXNet sees one, else the CPU."""
    mx = load_mxnet()
    return mx.gpu(0) if gpu_count() > 0 else mx.cpu()


def load_onnx_exporter():
    """MXNet's function `export_model`, usable with today's onnx.

    Raises:
        EngineUnavailable: onnx is not installed.
    """
    mx = load_mxnet()
    try:
        _provide_onnx_mapping()
    except ImportError as error:
        raise EngineUnavailable(f"onnx is needed to export a model: {error}; pip install onnx") from error
    return mx.onnx.export_model


def _forget_scipy(mxnet: ModuleType) -> None:
    """No sparse matrices here: `nd.array` asks each time for `scipy.sparse.csr`, which SciPy 2 will not have."""
    mxnet.ndarray.utils.spsp = None


class _Version(tuple):
    """Enough of distutils' LooseVersion: it is only compared with another one."""

    def __new__(cls, text: object) -> _Version:
        return super().__new__(cls, [int(part) for part in str(text).split(".")[:3] if part.isdigit()])


def _provide_distutils() -> None:
    if sys.version_info < (3, 12) or "distutils.version" in sys.modules:
        return
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.LooseVersion = module.StrictVersion = _Version  # type: ignore[attr-defined]
    package.version = module  # type: ignore[attr-defined]
    sys.modules["distutils"], sys.modules["distutils.version"] = package, module


def _provide_onnx_mapping() -> None:
    import onnx
    from onnx import helper

    if hasattr(onnx, "mapping"):
        return
    names = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
             "bool")
    module = types.ModuleType("onnx.mapping")
    to_tensor = {np.dtype(name): helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in names}
    module.NP_TYPE_TO_TENSOR_TYPE = to_tensor  # type: ignore[attr-defined]
    module.TENSOR_TYPE_TO_NP_TYPE = {v: k for k, v in to_tensor.items()}  # type: ignore[attr-defined]
    onnx.mapping = sys.modules["onnx.mapping"] = module
