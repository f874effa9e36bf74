"""The networks, as functions of a training's `model` section: any number of bands, any classes.

    unet            trained from nothing; small and quick
    lite0-unet      the same decoder over an EfficientNet-Lite0 that has learned from ImageNet: few labels go a long way
    fcn-resnet50    ResNet-50 whose answers at 1/32, 1/16 and 1/8 are summed
    fusion-unet     two encoders, one for pixels and one for OSM drawn as rasters; may not judge the map

Normalisation is inside: every network takes uint8 or int32 [N, C, H, W] and gives float32 logits [N, K, H, W]. H and W
must be multiples of `stride_of(model)`. Importing this package does not import MXNet; `build` does.
"""

from __future__ import annotations

import numpy as np

NETWORKS = ("unet", "lite0-unet", "fcn-resnet50", "fusion-unet")


def stride_of(model) -> int:
    """Sides of the input must be multiples of it: pixels of the input under one pixel of the deepest level."""
    if model.network in ("unet", "fusion-unet"):
        return 2 ** (len(model.widths) - 1)
    return 32


def build(model, context=None):
    """An initialised network on a context (the CPU unless given).

    Args:
        model: `detectors.training.config.Model`.

    Returns:
        Gluon HybridBlock: [N, bands, H, W] -> float32 logits [N, classes, H, W].

    Raises:
        DatasetInvalid: learned weights were asked for that are not here, or do not fit the bands.
    """
    from detectors.segmentation.mxnet_runtime import load_mxnet

    mx = load_mxnet()
    context = context or mx.cpu()
    from detectors.segmentation.networks.blocks import Normalise

    classes, normalise = len(model.classes), Normalise(model.mean, model.std, model.standardise)
    if model.network == "unet":
        from detectors.segmentation.networks.unet import unet

        network = unet(normalise, classes, model.widths)
    elif model.network == "lite0-unet":
        from detectors.segmentation.networks.lite0 import lite0_unet

        network = lite0_unet(normalise, classes, model.widths)
    elif model.network == "fcn-resnet50":
        from detectors.segmentation.networks.fcn import fcn_resnet50

        network = fcn_resnet50(normalise, classes)
    else:
        from detectors.segmentation.networks.fusion import fusion_unet

        network = fusion_unet(normalise, len(model.osm_bands), classes, model.widths)
    network.initialize(mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2), ctx=context)
    if model.network == "lite0-unet" and model.pretrained:
        from detectors.segmentation.networks.imagenet import load_lite0

        load_lite0(network.encoder, context)
    return network


def count_parameters(network) -> int:
    """Trained numbers of an initialised network (normalisation and running statistics not counted)."""
    return sum(int(np.prod(p.shape)) for p in network.collect_params().values() if p.grad_req != "null")
