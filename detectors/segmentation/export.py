"""A trained Gluon network -> a bundle: MXNet symbol and params, and the same as ONNX, compared on real pixels."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from detectors.errors import BundleInvalid, EngineUnavailable
from detectors.segmentation.bundle import CARD, FORMAT, ONNX, PARAMS, SYMBOL, Bundle, Card, sha256_of, write_card
from detectors.segmentation.engines import MxnetEngine, OpenvinoEngine
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, load_mxnet, load_onnx_exporter
from detectors.segmentation.networks import count_parameters, stride_of

#: Exported and trained network may differ by this much in any probability.
EXPORT_TOLERANCE = 1e-3
#: opset_import and ir_version of the file: what every engine of the last years reads.
OPSET, IR_VERSION = 13, 8


def write_bundle(network, config, directory: Path, *, fold: int, sample: np.ndarray) -> Bundle:
    """Export and verify a network, and write its card (without metrics yet).

    Args:
        network: initialised Gluon block that gives logits.
        config: a `detectors.training.config.TrainingConfig`.
        sample: uint8 [N, C, H, W] on which MXNet and ONNX are compared.

    Raises:
        BundleInvalid: the two forms differ by more than EXPORT_TOLERANCE.
        EngineUnavailable: onnx or openvino is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CARD).unlink(missing_ok=True)  # a bundle cut off half-way must not look like the one before
    model = config.model
    export_mxnet(network, model.bands, model.dtype, config.crops.size, directory)
    export_onnx(directory, model.bands, model.dtype, len(model.classes), config.crops.size)
    card = Card(
        format=FORMAT,
        name=model.name,
        created=datetime.now(UTC).date().isoformat(),
        bands=model.bands,
        dtype=model.dtype,
        osm_bands=model.osm_bands,
        classes=model.classes,
        stride=stride_of(model),
        standardise=model.standardise,
        gsd_m=model.gsd_m,
        gsd_range_m=model.gsd_range_m,
        trained_range_m=trained_range(config),
        mean=model.mean,
        std=model.std,
        footprint={"building": 1.0, "border": 1.0} if {"building", "border"} <= set(model.classes) else {},
        interior="building" if "building" in model.classes else "",
        border_px=model.border_px,
        architecture={
            "network": model.network, "widths": list(model.widths), "parameters": count_parameters(network),
            "input": f"{model.dtype} [N, C, H, W], normalised inside",
            "output": "softmax probabilities float32 [N, K, H, W]",
        },
        training={
            "seed": config.seed, "fold": fold, "folds": config.split.folds, "columns_per_fold": config.split.columns,
            "config": config.model_dump(mode="json"), "program": f"mapgap {_version()}",
            "mxnet": load_mxnet().__version__,
        },
        data=_provenance(config),
        limits=model.limits,
        files={name: sha256_of(directory / name) for name in (SYMBOL, PARAMS, ONNX)},
    )
    write_card(card, directory)
    bundle = Bundle.load(directory)
    difference = verify_export(bundle, sample)
    return bundle.with_card(architecture={**card.architecture, "export_difference": float(f"{difference:.2g}")})


def trained_range(config) -> tuple[float, float]:
    """Resolutions that the network was shown, within those that it may be used at; metres a pixel."""
    low, high = (config.model.gsd_m * scale for scale in config.crops.scale)
    return round(max(low, config.model.gsd_range_m[0]), 4), round(min(high, config.model.gsd_range_m[1]), 4)


def verify_export(bundle: Bundle, sample: np.ndarray) -> float:
    """Largest difference of any probability between MXNet and OpenVINO in float32.

    Raises:
        BundleInvalid: it is more than EXPORT_TOLERANCE.
    """
    mxnet = MxnetEngine(bundle, gpu=False)
    openvino = OpenvinoEngine(bundle, precision="f32", exact=True)
    difference = max(
        float(np.abs(mxnet.run(part) - openvino.run(part)).max())
        for part in np.split(sample, len(sample))
    )
    if not difference <= EXPORT_TOLERANCE:
        raise BundleInvalid(
            f"{bundle.directory}: ONNX and MXNet differ by {difference:.2g}, more than {EXPORT_TOLERANCE}"
        )
    return difference


def export_mxnet(network, bands: int, dtype: str, size: int, directory: Path) -> None:
    """Write model-symbol.json and model-0000.params with the softmax in the graph."""
    from detectors.segmentation.networks.blocks import with_softmax

    mx = load_mxnet()
    probable = with_softmax(network)
    probable.hybridize()
    context = next(iter(network.collect_params().values())).list_ctx()[0]
    probable(mx.nd.zeros((1, bands, size, size), ctx=context, dtype=MXNET_INPUT[dtype]))
    probable.export(str(directory / "model"), epoch=0, remove_amp_cast=True)


def export_onnx(directory: Path, bands: int, dtype: str, classes: int, size: int) -> None:
    """Write model.onnx beside the MXNet files: any batch, any height and width that are multiples of the stride."""
    export_model = load_onnx_exporter()
    import onnx
    from onnx import helper

    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        draft = Path(scratch) / ONNX
        given = np.dtype(MXNET_INPUT[dtype])
        export_model(str(directory / SYMBOL), str(directory / PARAMS), [(1, bands, size, size)], given, str(draft))
        model = onnx.load(str(draft))
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise EngineUnavailable(f"MXNet gave {len(inputs)} inputs, {len(model.graph.output)} outputs, not 1 and 1")
    model.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    _set_shape(model.graph.input[0], ("N", bands, "H", "W"))
    _set_shape(model.graph.output[0], ("N", classes, "H", "W"))
    del model.graph.value_info[:]
    _place_corners(model, directory / SYMBOL)
    onnx.checker.check_model(model)
    onnx.save(model, str(directory / ONNX))


def _place_corners(model, symbol: Path) -> None:
    """MXNet's exporter writes `align_corners` for every bilinear enlargement, also for those that have it off."""
    off = {
        node["name"] for node in json.loads(symbol.read_text())["nodes"]
        if node["op"] == "_contrib_BilinearResize2D" and node["attrs"].get("align_corners", "True") in ("False", "0")
    }
    for node in model.graph.node:
        if node.op_type == "Resize" and off & {node.name, node.output[0]}:
            (mode,) = (a for a in node.attribute if a.name == "coordinate_transformation_mode")
            mode.s = b"half_pixel"


def _provenance(config) -> tuple[dict, ...]:
    """What was seen in training or kept for testing, and whose it is."""
    sources = [source.model_dump() for source in config.sources]
    if config.rendered.share:
        sources.append({
            "path": f"towns {config.rendered.seed}..{config.rendered.seed + config.rendered.towns - 1} of draw_town",
            "use": "train", "share": config.rendered.share, "in_folds": config.rendered.in_folds,
            "imagery": "rendered by detectors.training.rendered", "imagery_licence": "MIT",
            "labels": "rendered by detectors.training.rendered", "labels_licence": "MIT",
        })
    return tuple(sources)


def _set_shape(value, dimensions: tuple[str | int, ...]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for dimension in dimensions:
        if isinstance(dimension, int):
            shape.dim.add().dim_value = dimension
        else:
            shape.dim.add().dim_param = dimension


def _version() -> str:
    try:
        return version("mapgap")
    except PackageNotFoundError:
        return "(source tree)"
