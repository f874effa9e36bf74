"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; Lite: no squeeze-and-excitation, ReLU6) as encoder of a U-Net.

Padding is TensorFlow's "same", which the learned weights expect: where a stride of two does not come out even, the
extra row and column lie below and to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from detectors.segmentation.networks.blocks import Decoder, Normalise, convolutions, mx, nn

#: Momentum in MXNet's sense (share that is kept) and epsilon of all batch normalisations of the encoder.
BATCH_NORM = {"momentum": 0.99, "epsilon": 1e-3}
STEM = 32


class Stage(NamedTuple):
    """`repeats` blocks; the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


#: The stages up to 1/16; those at 1/32 hold two thirds of the weights, and buildings and roads are smaller.
STAGES = (Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80),
          Stage(3, 5, 1, 6, 112))
#: Stages whose output is the last at its resolution: 1/2, 1/4, 1/8, 1/16.
LAST_OF_LEVEL = (0, 1, 2, 4)


class Convolution(mx.gluon.HybridBlock):
    """Convolution, batch normalisation and perhaps ReLU6."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool = True,
                 prefix: str) -> None:
        super().__init__(prefix=prefix)
        extra = kernel - stride
        self._uneven = (extra // 2, extra - extra // 2) if extra % 2 else None
        self._active = active
        with self.name_scope():
            self.convolution = nn.Conv2D(width, kernel, stride, 0 if self._uneven else extra // 2, groups=groups,
                                         use_bias=False, in_channels=inputs)
            self.normalisation = nn.BatchNorm(in_channels=width, **BATCH_NORM)

    def hybrid_forward(self, F, x):
        if self._uneven:
            x = F.pad(x, mode="constant", pad_width=(0, 0, 0, 0, *self._uneven, *self._uneven))
        x = self.normalisation(self.convolution(x))
        return F.clip(x, 0, 6) if self._active else x


class InvertedResidual(mx.gluon.HybridBlock):
    """Widen, look at each channel by itself, narrow; added to the input where the shapes agree."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int, prefix: str) -> None:
        super().__init__(prefix=prefix)
        wide = inputs * expansion
        self._shortcut = stride == 1 and inputs == width
        with self.name_scope():
            self.steps = nn.HybridSequential(prefix="")
            if expansion != 1:
                self.steps.add(Convolution(inputs, wide, 1, prefix="expand_"))
            self.steps.add(Convolution(wide, wide, kernel, stride, wide, prefix="depthwise_"))
            self.steps.add(Convolution(wide, width, 1, active=False, prefix="project_"))

    def hybrid_forward(self, F, x):
        return x + self.steps(x) if self._shortcut else self.steps(x)


class Lite0(mx.gluon.HybridBlock):
    """float32 [N, bands, H, W] -> features at 1/2 (16 channels), 1/4 (24), 1/8 (40) and 1/16 (112)."""

    def __init__(self, bands: int = 3) -> None:
        super().__init__(prefix="lite0_")
        with self.name_scope():
            self.stem = Convolution(bands, STEM, 3, 2, prefix="stem_")
            self.stages = nn.HybridSequential(prefix="")
            inputs = STEM
            for number, stage in enumerate(STAGES):
                blocks = nn.HybridSequential(prefix=f"stage{number}_")
                with blocks.name_scope():
                    for repeat in range(stage.repeats):
                        stride = stage.stride if repeat == 0 else 1
                        blocks.add(InvertedResidual(inputs, stage.width, stage.kernel, stride, stage.expansion,
                                                    f"block{repeat}_"))
                        inputs = stage.width
                self.stages.add(blocks)

    def hybrid_forward(self, F, x):
        x = self.stem(x)
        features = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in LAST_OF_LEVEL:
                features.append(x)
        return features


class Lite0UNet(mx.gluon.HybridBlock):
    def __init__(self, normalise: Normalise, classes: int, widths: Sequence[int]) -> None:
        super().__init__(prefix="lite0unet_")
        with self.name_scope():
            self.normalise = normalise
            self.encoder = Lite0(normalise.bands)
            # The encoder begins with a halving: walls a pixel wide need eyes of their own.
            self.detail = convolutions(widths[0], 1, "detail_")
            self.decoder = Decoder(widths)
            self.head = nn.Conv2D(classes, 1, prefix="head_")

    def hybrid_forward(self, F, x):
        x = self.normalise(x)
        *skips, deepest = self.encoder(x)
        return self.head(self.decoder(deepest, self.detail(x), *skips))


def lite0_unet(normalise: Normalise, classes: int, widths: Sequence[int]):
    """An uninitialised U-Net over EfficientNet-Lite0, giving logits.

    Args:
        widths: channels of the decoder at 1/1, 1/2, 1/4 and 1/8.
    """
    if len(widths) != len(LAST_OF_LEVEL):
        raise ValueError(f"lite0-unet: widths has {len(widths)} numbers, needs {len(LAST_OF_LEVEL)}")
    return Lite0UNet(normalise, classes, widths)
