"""model.onnx -> model-int8.onnx: 8 bit weights and activations between QuantizeLinear and DequantizeLinear ("QDQ").

What makes it quick as well as right, measured with OpenVINO 2026 on a CPU with 8 bit dot products:

* a convolution of joined tensors (Concat) becomes a sum of convolutions: joined in 8 bits, OpenVINO rounds them wrong
  (the likeliest class changed on 2.4 % of a U-Net's pixels, without it on 0.5 %), and reorders them besides;
* what nobody reads in 8 bits is not quantised after a convolution;
* the last convolution, whose answer becomes probabilities, stays in floating point, and so does the normalisation;
* weights have a scale for each channel, activations are unsigned: most are rectified, and need no sign.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detectors.errors import BundleInvalid, BundleMismatch, EngineUnavailable
from detectors.segmentation.bundle import ONNX, ONNX_INT8, Bundle, sha256_of
from detectors.segmentation.engines.base import first_line

#: What is quantised where it lies between convolutions; the rest is left to floating point.
QUANTISED = ("Conv", "MaxPool", "Resize", "Add")


def quantise(bundle: Bundle, tiles: np.ndarray) -> Bundle:
    """Write model-int8.onnx, and its checksum into the card. The card allows it only once it was measured.

    Args:
        tiles: real pixels of the card's type [N, C, H, W] on which the ranges of the activations are measured; some
            dozens, of all kinds of ground.

    Raises:
        EngineUnavailable: onnxruntime is not installed.
        BundleMismatch: the tiles do not fit the bundle.
        BundleInvalid: the network cannot be quantised.
    """
    card = bundle.card
    if tiles.ndim != 4 or not len(tiles) or tiles.dtype != card.dtype or tiles.shape[1] != card.bands:
        raise BundleMismatch(
            f"calibration needs {card.dtype} [N, {card.bands}, H, W] with N > 0, not {tiles.dtype} {list(tiles.shape)}"
        )
    if tiles.shape[2] % card.stride or tiles.shape[3] % card.stride:
        raise BundleMismatch(f"calibration: sides must be multiples of {card.stride}, not {list(tiles.shape[2:])}")
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise EngineUnavailable(f"quantising needs onnxruntime: {error}; pip install 'mapgap[train]'") from error
    with tempfile.TemporaryDirectory(dir=bundle.directory) as scratch:
        fused, draft = Path(scratch) / "fused.onnx", Path(scratch) / ONNX_INT8
        try:
            left = fuse(bundle.path(ONNX), fused)
            quantize_static(
                str(fused), str(draft), _reader(tiles, fused), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED), nodes_to_exclude=left, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
            )
            model = onnx.load(str(draft))
            _keep_opset(model)
            onnx.checker.check_model(model)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            raise BundleInvalid(f"{bundle.path(ONNX)} cannot be quantised: {first_line(error)}") from error
        onnx.save(model, str(draft))
        draft.replace(bundle.path(ONNX_INT8))
    files = {**card.files, ONNX_INT8: sha256_of(bundle.path(ONNX_INT8))}
    precisions = {**card.precisions, "int8": {"allowed": False, "note": "it was never measured"}}
    precision = "f32" if card.precision == "int8" else card.precision
    return bundle.with_card(files=files, precisions=precisions, precision=precision)


def fuse(source: Path, target: Path) -> list[str]:
    """Write the network with normalisations folded into convolutions, convolutions split, and every node named.

    Returns:
        Names of the nodes that must stay in floating point.

    Raises:
        ValueError: there is no convolution.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(target))
    # Fused nodes have no name; told to exclude one of those, the quantiser would exclude them all.
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}{number}"
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if not convolutions:
        raise ValueError("it has no convolution")
    sums = _split_joined(model)
    _keep_opset(model)
    add_pre_process_metadata(model)
    onnx.save(model, str(target))
    return [convolutions[-1], *sums]


def _split_joined(model) -> list[str]:
    """conv(concat(a, b)) -> conv(a) + conv(b), which is the same; returns the names of the sums."""
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    maker = {output: node for node in graph.node for output in node.output}
    known = onnx.shape_inference.infer_shapes(model).graph
    channels = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in known.value_info if len(value.type.tensor_type.shape.dim) == 4
    }
    nodes, sums = [], []
    for node in graph.node:
        join = maker.get(node.input[0]) if node.op_type == "Conv" else None
        parts = list(join.input) if join is not None and join.op_type == "Concat" else []
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        axis = next((a.i for a in join.attribute if a.name == "axis"), 1) if parts else 1
        if not parts or groups != 1 or axis != 1 or not all(channels.get(part) for part in parts):
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        ends = np.cumsum([channels[part] for part in parts])
        total = ""
        for number, (part, slab) in enumerate(zip(parts, np.split(weight, ends[:-1], axis=1), strict=True)):
            name = f"{node.name}_part{number}"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(slab), f"{name}_weight"))
            piece = onnx.NodeProto()
            piece.CopyFrom(node)
            piece.name = name
            bias = list(node.input[2:]) if number == 0 else []
            del piece.input[:], piece.output[:]
            piece.input.extend([part, f"{name}_weight", *bias])
            piece.output.append(f"{name}_out")
            nodes.append(piece)
            if number:
                output = node.output[0] if number == len(parts) - 1 else f"{name}_sum"
                nodes.append(helper.make_node("Add", [total, f"{name}_out"], [output], name=f"{name}_add"))
                sums.append(f"{name}_add")
                total = output
            else:
                total = f"{name}_out"
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    kept = [node for node in nodes if node.op_type != "Concat" or read & set(node.output)]
    del graph.node[:]
    graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    return sums


def _keep_opset(model) -> None:
    """Of the domains that ONNX Runtime lists, keep ONNX's own, the only one used."""
    kept = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if foreign:
        raise ValueError(f"it needs operators of {', '.join(sorted(foreign))}")
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _reader(tiles: np.ndarray, model: Path):
    """The tiles one by one, in the form that onnxruntime asks for them."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    (given,) = onnx.load(str(model)).graph.input

    class Tiles(CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(tiles)

        def get_next(self) -> dict[str, np.ndarray] | None:
            tile = next(self._left, None)
            return None if tile is None else {given.name: np.ascontiguousarray(tile[None])}

    return Tiles()
