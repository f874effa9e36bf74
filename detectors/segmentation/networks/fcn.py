"""A fully convolutional network over ResNet-50, as R. Kneusel, R. Emanuele and others at Azavea built it in 2017.

The features at 1/32, 1/16 and 1/8 are each scored by a 1x1 convolution and summed on the way up (FCN-8s, Long et al.
2015, arXiv:1411.4038, over He et al. 2015, arXiv:1512.03385). Doubling is bilinear.
"""

from __future__ import annotations

from detectors.segmentation.networks.blocks import Normalise, mx, nn


class FcnResNet50(mx.gluon.HybridBlock):
    def __init__(self, normalise: Normalise, classes: int) -> None:
        super().__init__(prefix="fcn_")
        self._classes = classes
        with self.name_scope():
            self.normalise = normalise
            self.features = mx.gluon.model_zoo.vision.resnet50_v1(pretrained=False).features
            self.scores = nn.HybridSequential(prefix="score_")
            for name in ("eighth", "sixteenth", "thirty_second"):
                self.scores.add(nn.Conv2D(classes, 1, prefix=f"{name}_"))

    def hybrid_forward(self, F, x):
        height_width = 4  # stem: convolution, normalisation, rectifier and pooling
        x = self.normalise(x)
        levels = []
        for number, layer in enumerate(self.features[:-1]):  # the last is the global pooling
            x = layer(x)
            if number > height_width:
                levels.append(x)
        scores = [score(level) for score, level in zip(self.scores, levels, strict=True)]
        total = scores[2]
        for finer in (scores[1], scores[0]):
            total = self._enlarge(F, total, 2) + finer
        return self._enlarge(F, total, 8)

    def _enlarge(self, F, x, factor: int):
        return F.contrib.BilinearResize2D(x, scale_height=factor, scale_width=factor, mode="size", align_corners=False)


def fcn_resnet50(normalise: Normalise, classes: int):
    """An uninitialised network that gives logits; 23.5 million weights."""
    return FcnResNet50(normalise, classes)
