"""Pieces that the networks share. Import only where MXNet is wanted: this loads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.segmentation.mxnet_runtime import load_mxnet

mx = load_mxnet()
nn = mx.gluon.nn

#: Variance below which a picture counts as even: its noise is not blown up.
EVEN = 0.01


class Normalise(mx.gluon.HybridBlock):
    """Pixels of any type -> float32 with about mean 0 and deviation 1 a band.

    `standardise`: besides, every picture by itself is brought to exactly that. What differs between dates then is no
    longer the season's light or the haze, but also no longer how bright the place as a whole is.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], standardise: bool = False) -> None:
        super().__init__(prefix="normalise_")
        assert len(mean) == len(std)
        self.bands = len(mean)
        shape = (1, self.bands, 1, 1)
        with self.name_scope():
            self.mean = self.params.get_constant("mean", mx.nd.array(np.reshape(mean, shape)))
            self.scale = self.params.get_constant("scale", mx.nd.array(1 / np.reshape(std, shape)))
            self.each = None
            if standardise:
                self.each = nn.InstanceNorm(epsilon=EVEN, center=False, scale=False, in_channels=self.bands)

    def hybrid_forward(self, F, x, mean, scale):
        x = F.broadcast_mul(F.broadcast_sub(F.cast(x, dtype="float32"), mean), scale)
        return self.each(x) if self.each else x


class Decoder(mx.gluon.HybridBlock):
    """The way up of a U-Net: shrink, double, join with the skip of that level, convolve twice.

    In place of transposed convolutions a 1x1 convolution is followed by nearest-neighbour upsampling: it is faster on
    CPUs and leaves no checkerboard (Odena et al. 2016, doi:10.23915/distill.00003).
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths`: channels of each level but the deepest, from full resolution down."""
        super().__init__(prefix="decoder_")
        with self.name_scope():
            self.shrink = nn.HybridSequential(prefix="shrink_")
            self.up = nn.HybridSequential(prefix="up_")
            for level, width in reversed(list(enumerate(widths))):
                self.shrink.add(nn.Conv2D(width, 1, use_bias=False, prefix=f"shrink{level}_"))
                self.up.add(convolutions(width, 2, f"up{level}_"))

    def hybrid_forward(self, F, x, *skips):
        """`skips` from full resolution down, without the deepest level, which is `x`."""
        for shrink, block, skip in zip(self.shrink, self.up, reversed(skips), strict=True):
            x = F.UpSampling(shrink(x), scale=2, sample_type="nearest")
            x = block(F.concat(skip, x, dim=1))
        return x


def convolutions(width: int, depth: int, prefix: str):
    """`depth` times 3x3 convolution, batch normalisation, rectifier."""
    block = nn.HybridSequential(prefix=prefix)
    with block.name_scope():
        for _ in range(depth):
            block.add(nn.Conv2D(width, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
    return block


def with_softmax(network):
    """The same network giving probabilities: float32 [N, K, H, W] that sum to 1 over K."""

    class Probable(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="")
            with self.name_scope():
                self.network = network

        def hybrid_forward(self, F, x):
            return F.softmax(self.network(x), axis=1)

    return Probable()
