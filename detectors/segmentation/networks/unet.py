"""A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with batch normalisation and padded convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.segmentation.networks.blocks import Decoder, Normalise, convolutions, mx, nn


class Encoder(mx.gluon.HybridBlock):
    """The way down: two convolutions a level, halved between levels; gives the features of every level."""

    def __init__(self, widths: Sequence[int], prefix: str = "encoder_") -> None:
        super().__init__(prefix=prefix)
        with self.name_scope():
            self.down = nn.HybridSequential(prefix="down_")
            for level, width in enumerate(widths):
                self.down.add(convolutions(width, 2, f"down{level}_"))

    def hybrid_forward(self, F, x):
        features = []
        for level, block in enumerate(self.down):
            if level:
                x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
            x = block(x)
            features.append(x)
        return features


class UNet(mx.gluon.HybridBlock):
    def __init__(self, normalise: Normalise, classes: int, widths: Sequence[int]) -> None:
        super().__init__(prefix="unet_")
        with self.name_scope():
            self.normalise = normalise
            self.encoder = Encoder(widths)
            self.decoder = Decoder(widths[:-1])
            self.head = nn.Conv2D(classes, 1, prefix="head_")

    def hybrid_forward(self, F, x):
        *skips, deepest = self.encoder(self.normalise(x))
        return self.head(self.decoder(deepest, *skips))


def unet(normalise: Normalise, classes: int, widths: Sequence[int]):
    """An uninitialised U-Net that gives logits.

    Args:
        normalise: of any number of bands.
        classes: planes of the output.
        widths: channels of each level, from full resolution down.
    """
    return UNet(normalise, classes, widths)
