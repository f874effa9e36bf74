"""What training makes small: a weighted sum of parts, each from the paper named with it.

Cross-entropy looks at classes. The parts that look at regions (Dice, Lovasz, boundary) look at *planes*: a plane is one
class, or those that make up a building's footprint (`planes_of`). All take logits float32 [N, K, H, W], target
[N, H, W] and weight float32 [N, H, W], which is 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from detectors.segmentation.mxnet_runtime import load_mxnet

#: Side of the squares within which labels are taken to be shifted alike, pixels.
SHIFT_BLOCK = 16


def planes_of(classes: Sequence[str]) -> list[tuple[int, ...]]:
    """Indices of the classes of each plane: the footprint for building and border, else each class but background."""
    if "border" in classes:
        return [(classes.index("building"), classes.index("border"))]
    return [(index,) for index, name in enumerate(classes) if name != "background"]


def segmentation_loss(settings, classes: Sequence[str]):
    """The loss that a config asks for.

    Args:
        settings: `detectors.training.config.Loss`.

    Returns:
        A Gluon HybridBlock: (logits, target, weight[, distances float32 [N, P, H, W]]) -> float32 [1]. The signed
        distances of each plane (`detectors.training.gaps.distances_of`) are wanted if settings.boundary is not 0.
    """
    mx = load_mxnet()
    planes = planes_of(classes)
    background = classes.index("background") if "background" in classes else None

    class SegmentationLoss(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, logits, target, weight, *distances):
            logs = F.log_softmax(logits, axis=1)
            parts = []
            if settings.cross_entropy:
                believed = tolerate_omissions(F, logs, background, settings.omission)
                if settings.registration_px:
                    entropy = shifted_cross_entropy(F, believed, target, weight, settings.registration_px)
                else:
                    entropy = cross_entropy(F, believed, target, weight)
                parts.append(settings.cross_entropy * entropy)
            if settings.focal:
                parts.append(settings.focal * focal(F, logs, target, weight, settings.focal_gamma))
            if settings.dice or settings.lovasz or settings.boundary:
                known = weight > 0
                chances, truths = planes_in(F, logs, target, planes)
                if settings.dice:
                    parts.append(settings.dice * dice(F, chances, truths, known))
                if settings.lovasz:
                    parts.append(settings.lovasz * lovasz(F, chances, truths, known))
                if settings.boundary:
                    parts.append(settings.boundary * boundary(F, chances, distances[0], known))
            return sum(parts[1:], parts[0])

    return SegmentationLoss()


def planes_in(F, logs, target, planes):
    """([probability of each plane], [float32 truth of each plane]), all [N, H, W]."""
    chances, truths = [], []
    for members in planes:
        chance = [F.exp(F.slice_axis(logs, axis=1, begin=k, end=k + 1)).squeeze(axis=1) for k in members]
        truth = [target == k for k in members]
        chances.append(sum(chance[1:], chance[0]))
        truths.append(sum(truth[1:], truth[0]))
    return chances, truths


def cross_entropy(F, logs, target, weight):
    """Weighted mean of -log p of the class that the label names."""
    return F.sum(-F.pick(logs, target, axis=1) * weight) / (F.sum(weight) + 1.0)


def tolerate_omissions(F, logs, background, omission):
    """Log-probabilities of *labels* where a share of what is there was never mapped.

    The asymmetric noise of Mnih & Hinton 2012 ("Learning to label aerial images from noisy data"): an object is
    labelled as such with 1 - omission, else as background; background is always labelled as background. So a label of
    background costs no more than -log(omission), however sure the network is of an object.
    """
    if not omission or background is None:
        return logs
    classes = []
    empty = F.slice_axis(logs, axis=1, begin=background, end=background + 1)
    label_of_nothing = F.log(F.exp(empty) * (1 - omission) + omission)
    before = F.slice_axis(logs, axis=1, begin=0, end=background) if background else None
    after = F.slice_axis(logs, axis=1, begin=background + 1, end=None)
    shown = float(np.log1p(-omission))
    if before is not None:
        classes.append(before + shown)
    classes.append(label_of_nothing)
    classes.append(after + shown)
    return F.concat(*classes, dim=1)


def shifted_cross_entropy(F, logs, target, weight, reach):
    """Cross-entropy under the best shift of the labels within `reach` pixels, block by block.

    Registration noise after Mnih & Hinton 2012, who sum over the translations of a patch's labels; here the likeliest
    one counts, for each square of SHIFT_BLOCK pixels. Beyond the crop's edge the labels go on as they end there.
    """
    steps = np.unique(np.rint(np.linspace(-reach, reach, min(2 * reach + 1, 5)))).astype(int)
    padded = [
        F.pad(F.expand_dims(part, axis=1), mode="edge", pad_width=(0, 0, 0, 0, reach, reach, reach, reach))
        for part in (target, weight)
    ]
    costs, known = [], []
    for down, right in product(steps.tolist(), repeat=2):
        label, amount = (_cut(F, part, reach + down, reach + right, reach).squeeze(axis=1) for part in padded)
        costs.append(_block_sums(F, -F.pick(logs, label, axis=1) * amount))
        known.append(_block_sums(F, amount))
    costs, known = F.stack(*costs, axis=0), F.stack(*known, axis=0)
    # A shift must not win by pushing what is known out of sight: costs are compared by weight.
    mean = costs / (known + 1e-6)
    return F.sum(F.min(mean, axis=0) * F.mean(known, axis=0)) / (F.sum(weight) + 1.0)


def focal(F, logs, target, weight, gamma):
    """Cross-entropy times (1 - p)^gamma: easy pixels count for little (Lin et al. 2017, arXiv:1708.02002)."""
    log = F.pick(logs, target, axis=1)
    return F.sum(-log * F.clip(1 - F.exp(log), 1e-6, 1.0) ** gamma * weight) / (F.sum(weight) + 1.0)


def dice(F, chances, truths, known):
    """1 - soft Dice (Milletari et al. 2016, arXiv:1606.04797), over the whole batch: empty crops do no harm.

    The mean over the planes that are to be seen in the batch; with a single plane, that one in any case.
    """
    losses = []
    for chance, truth in zip(chances, truths, strict=True):
        chance, truth = chance * known, truth * known
        overlap = F.sum(chance * truth)
        losses.append(1 - (2 * overlap + 1.0) / (F.sum(chance) + F.sum(truth) + 1.0))
    return _mean_of_present(F, losses, truths, known)


def lovasz(F, chances, truths, known):
    """The Lovasz extension of 1 - IoU (Berman et al. 2018, arXiv:1705.08790, algorithm 1), planes as for Dice."""
    losses = []
    for chance, truth in zip(chances, truths, strict=True):
        truth = F.reshape(truth * known, shape=(-1,))
        errors = F.abs(truth - F.reshape(chance * known, shape=(-1,)))
        order = F.BlockGrad(F.argsort(errors, axis=0, is_ascend=False, dtype="int32"))
        truth = F.take(truth, order)
        total = F.sum(truth)
        seen = F.cumsum(truth, axis=0)
        union = F.broadcast_add(F.cumsum(1 - truth, axis=0), total)
        jaccard = 1 - F.broadcast_sub(total, seen) / union
        first = F.slice_axis(jaccard, axis=0, begin=0, end=1)
        rise = F.slice_axis(jaccard, axis=0, begin=1, end=None) - F.slice_axis(jaccard, axis=0, begin=0, end=-1)
        losses.append(F.sum(F.take(errors, order) * F.BlockGrad(F.concat(first, rise, dim=0))))
    return _mean_of_present(F, losses, truths, known)


def boundary(F, chances, distances, known):
    """Mean over known pixels of p * signed distance, negative inside (Kervadec et al. 2019, arXiv:1812.07032)."""
    parts = [
        F.sum(chance * F.slice_axis(distances, axis=1, begin=index, end=index + 1).squeeze(axis=1) * known)
        for index, chance in enumerate(chances)
    ]
    return sum(parts[1:], parts[0]) / (F.sum(known) + 1.0) / len(parts)


def _mean_of_present(F, losses, truths, known):
    if len(losses) == 1:
        return losses[0]
    present = [F.sum(truth * known) > 0 for truth in truths]
    total = sum((loss * there for loss, there in zip(losses[1:], present[1:], strict=True)), losses[0] * present[0])
    return total / F.maximum(sum(present[1:], present[0]), 1.0)


def _cut(F, part, top, left, reach):
    """[N, 1, H, W] out of what was padded by `reach` on all sides."""
    for axis, begin in ((2, top), (3, left)):
        part = F.slice_axis(part, axis=axis, begin=begin, end=begin - 2 * reach or None)
    return part


def _block_sums(F, values):
    """[N, H, W] -> [N, 1, h, w]: sums over squares, those at the lower and right edge may be cut off."""
    area = SHIFT_BLOCK * SHIFT_BLOCK
    return area * F.Pooling(F.expand_dims(values, axis=1), kernel=(SHIFT_BLOCK,) * 2, stride=(SHIFT_BLOCK,) * 2,
                            pool_type="avg", pooling_convention="full", count_include_pad=True)
