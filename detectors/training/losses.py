"""What training makes small."""

from __future__ import annotations

from detectors.segmentation.mxnet_runtime import load_mxnet


def segmentation_loss(dice: float):
    """Weighted cross-entropy plus `dice` times a soft Dice loss on the footprint (all classes but the background).

    Dice after Milletari et al. 2016 (arXiv:1606.04797), over the whole batch: crops without buildings do no harm.

    Returns:
        A Gluon HybridBlock: (logits float32 [N, K, H, W], target [N, H, W], weight float32 [N, H, W]) -> float32 [1].
    """
    mx = load_mxnet()

    class SegmentationLoss(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, logits, target, weight):
            logs = F.log_softmax(logits, axis=1)
            entropy = -F.pick(logs, target, axis=1) * weight
            loss = F.sum(entropy) / (F.sum(weight) + 1.0)
            if dice:
                known = weight > 0
                footprint = (1 - F.exp(F.slice_axis(logs, axis=1, begin=0, end=1)).squeeze(axis=1)) * known
                truth = (target > 0) * known
                overlap = F.sum(footprint * truth)
                loss = loss + dice * (1 - (2 * overlap + 1.0) / (F.sum(footprint) + F.sum(truth) + 1.0))
            return loss

    return SegmentationLoss()
