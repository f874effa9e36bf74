"""Pixels and map seen together: FuseNet (Hazirbas et al. 2016), as Audebert et al. 2017 (arXiv:1705.06057) used it.

Two encoders, one for the imagery and one for OSM drawn as rasters. After every level the map's features are added to
the imagery's, whose sum goes on and into the decoder. It maps better than imagery alone; but it has seen the map, so
it must not be asked whether the map is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectors.segmentation.networks.blocks import Decoder, Normalise, convolutions, mx, nn


class FusionUNet(mx.gluon.HybridBlock):
    def __init__(self, normalise: Normalise, osm_bands: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__(prefix="fusion_")
        self._optical = normalise.bands - osm_bands
        with self.name_scope():
            self.normalise = normalise
            self.optical = nn.HybridSequential(prefix="optical_")
            self.osm = nn.HybridSequential(prefix="osm_")
            for level, width in enumerate(widths):
                self.optical.add(convolutions(width, 2, f"optical{level}_"))
                self.osm.add(convolutions(width, 1, f"osm{level}_"))
            self.decoder = Decoder(widths[:-1])
            self.head = nn.Conv2D(classes, 1, prefix="head_")

    def hybrid_forward(self, F, x):
        x = self.normalise(x)
        pixels = F.slice_axis(x, axis=1, begin=0, end=self._optical)
        drawn = F.slice_axis(x, axis=1, begin=self._optical, end=None)
        features = []
        for level, (look, read) in enumerate(zip(self.optical, self.osm, strict=True)):
            if level:
                pixels, drawn = (
                    F.Pooling(part, kernel=(2, 2), stride=(2, 2), pool_type="max") for part in (pixels, drawn)
                )
            drawn = read(drawn)
            pixels = look(pixels) + drawn
            features.append(pixels)
        *skips, deepest = features
        return self.head(self.decoder(deepest, *skips))


def fusion_unet(normalise: Normalise, osm_bands: int, classes: int, widths: Sequence[int]):
    """An uninitialised network that gives logits.

    Args:
        normalise: of all channels of the input; the last `osm_bands` of them are drawn from OSM.
        widths: channels of each level, from full resolution down, in both encoders.
    """
    assert 0 < osm_bands < normalise.bands
    return FusionUNet(normalise, osm_bands, classes, widths)
