"""The networks, as functions of their numbers: bands, classes, widths.

A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with batch normalisation, padded convolutions, and, in place of
transposed convolutions, a 1x1 convolution followed by nearest-neighbour upsampling: it is faster on CPUs and leaves no
checkerboard (Odena et al. 2016, doi:10.23915/distill.00003).

Normalisation is inside: every network takes uint8 [N, C, H, W] and gives float32 [N, K, H, W]. H and W must be
multiples of `stride(widths)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.segmentation.mxnet_runtime import load_mxnet


def stride(widths: Sequence[int]) -> int:
    """Pixels of the input under one pixel of the deepest level; sides of the input must be multiples of it."""
    return 2 ** (len(widths) - 1)


def unet(bands: int, classes: int, widths: Sequence[int], mean: Sequence[float], std: Sequence[float]):
    """A U-Net that gives logits.

    Args:
        bands: channels of the input, any number.
        classes: planes of the output.
        widths: channels of each level, from full resolution down.
        mean, std: one number a band in units of the input (0..255).

    Returns:
        An uninitialised Gluon HybridBlock: uint8 [N, bands, H, W] -> float32 logits [N, classes, H, W].
    """
    mx = load_mxnet()
    nn = mx.gluon.nn

    class Normalise(mx.gluon.HybridBlock):
        """uint8 -> float32 with mean 0 and deviation 1 a band."""

        def __init__(self) -> None:
            super().__init__(prefix="normalise_")
            with self.name_scope():
                shape = (1, bands, 1, 1)
                self.mean = self.params.get_constant("mean", mx.nd.array(np.reshape(mean, shape)))
                self.scale = self.params.get_constant("scale", mx.nd.array(1 / np.reshape(std, shape)))

        def hybrid_forward(self, F, x, mean, scale):
            return F.broadcast_mul(F.broadcast_sub(F.cast(x, dtype="float32"), mean), scale)

    def convolutions(width: int, depth: int, prefix: str):
        block = nn.HybridSequential(prefix=prefix)
        with block.name_scope():
            for _ in range(depth):
                block.add(nn.Conv2D(width, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
        return block

    class UNet(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="unet_")
            with self.name_scope():
                self.normalise = Normalise()
                self.down = nn.HybridSequential(prefix="down_")
                self.shrink = nn.HybridSequential(prefix="shrink_")
                self.up = nn.HybridSequential(prefix="up_")
                for level, width in enumerate(widths):
                    self.down.add(convolutions(width, 2, f"down{level}_"))
                for level, width in reversed(list(enumerate(widths[:-1]))):
                    self.shrink.add(nn.Conv2D(width, 1, use_bias=False, prefix=f"shrink{level}_"))
                    self.up.add(convolutions(width, 2, f"up{level}_"))
                self.head = nn.Conv2D(classes, 1, prefix="head_")

        def hybrid_forward(self, F, x):
            x = self.normalise(x)
            skips = []
            for level, block in enumerate(self.down):
                if level:
                    x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
                x = block(x)
                skips.append(x)
            for shrink, block, skip in zip(self.shrink, self.up, reversed(skips[:-1]), strict=True):
                x = F.UpSampling(shrink(x), scale=2, sample_type="nearest")
                x = block(F.concat(skip, x, dim=1))
            return self.head(x)

    return UNet()


def with_softmax(network):
    """The same network giving probabilities: float32 [N, K, H, W] that sum to 1 over K."""
    mx = load_mxnet()

    class Probable(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="")
            with self.name_scope():
                self.network = network

        def hybrid_forward(self, F, x):
            return F.softmax(self.network(x), axis=1)

    return Probable()


def count_parameters(network) -> int:
    """Trained numbers of an initialised network (normalisation and running statistics not counted)."""
    return sum(int(np.prod(p.shape)) for p in network.collect_params().values() if p.grad_req != "null")
