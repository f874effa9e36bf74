"""Mixup (Zhang et al. 2018, arXiv:1710.09412): a network learns from pictures laid over each other.

Of the two forms that there are for segmentation this is Zhang's own, not CutMix: pixels are mixed in the proportion
lambda, and so are the losses. Cross-entropy is linear in its target, so lambda * loss(first) + (1 - lambda) *
loss(second) is exactly the loss of soft labels; and it works for any other loss with hard labels and weights, too. As
in the authors' code, one lambda from Beta(alpha, alpha) serves a batch; a crop's partner is another one of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.training.crops import Batch


class Part(NamedTuple):
    """Labels to learn with the given share of the loss, 0..1; all parts of a mixed batch have the same pixels."""

    share: float
    batch: Batch


def mix_batch(batch: Batch, alpha: float, seed: int, step: int) -> tuple[Part, ...]:
    """Mix each crop with another one of its batch: two parts whose shares add up to 1.

    The same batch, seed and step give the same. Nothing is mixed where alpha is 0 or a batch has a single crop: the one
    part is the batch itself then, with the whole share, so that a training loop needs no second way.

    Args:
        alpha: config.crops.mixup.
        step: the batch's number.
    """
    count = len(batch.pixels)
    if alpha <= 0 or count < 2:
        return (Part(1.0, batch),)
    # The third number keeps the draws apart from those of the crops.
    random = np.random.default_rng([seed, step, 2])
    share = float(random.beta(alpha, alpha))
    # Around one random circle: everybody has a partner, and nobody himself.
    circle = random.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[circle] = np.roll(circle, 1)
    mixed = np.rint(np.float32(share) * batch.pixels + np.float32(1 - share) * batch.pixels[partner])
    other = Batch(*(values[partner] for values in batch))
    pixels = mixed.astype(batch.pixels.dtype)
    return Part(share, batch._replace(pixels=pixels)), Part(1 - share, other._replace(pixels=pixels))
