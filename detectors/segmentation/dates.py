"""Several dates of the same ground in one picture: their bands lie one after the other, each looked at by itself.

A single date shows a flood, a dry reservoir, a cloud. What is seen on every date is there, what is seen on none is not.
So besides the mean of a class over the dates, the answer holds the least and the most of it on any date, as classes of
their own: "least water", "most water".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detectors.base import Chip, Probabilities
from detectors.errors import BundleMismatch

#: What the names of the extra classes begin with.
LEAST, MOST = "least ", "most "


def dates_in(chip: Chip, bands: int) -> int:
    """How many dates a chip holds for a network of so many bands.

    Raises:
        BundleMismatch: its bands are no whole number of dates.
    """
    count, rest = divmod(chip.pixels.shape[2], bands)
    if rest or not count:
        raise BundleMismatch(
            f"imagery {chip.source} has {chip.pixels.shape[2]} bands, the model takes {bands}: neither one date "
            "nor several; see bands of [[imagery]]"
        )
    return count


def look_at_each(chip: Chip, bands: int, look: Callable[[Chip], Probabilities]) -> Probabilities:
    """The answer for a chip of one date or more.

    Of several dates, one whose bands are all 0 at a pixel has not seen it: that is how clouds are cut out of a stack.
    What no date has seen is given a mean and a least of 0 and a most of 1, which neither shows nor hides anything.

    Args:
        bands: that the network takes; the chip holds date after date, each with all of them.
        look: the answer for one date.

    Returns:
        For one date what `look` says; else the means, float16 [3 K, H, W] with the least and the most of each class.

    Raises:
        BundleMismatch: the chip's bands are no whole number of dates.
    """
    count = dates_in(chip, bands)
    if count == 1:
        return look(chip)
    answers, seen = [], []
    for i in range(count):
        pixels = np.ascontiguousarray(chip.pixels[..., i * bands : (i + 1) * bands])
        seen.append(chip.valid & pixels.any(axis=2))
        answers.append(look(replace(chip, pixels=pixels, valid=seen[-1])))
    values = np.stack([answer.values.astype(np.float32) for answer in answers])
    there = np.broadcast_to(np.stack(seen)[:, None], values.shape)
    often = there.sum(axis=0)
    mean = values.sum(axis=0, where=there) / np.maximum(often, 1)
    least = np.where(often, values.min(axis=0, where=there, initial=1.0), 0.0)
    most = np.where(often, values.max(axis=0, where=there, initial=0.0), 1.0)
    classes = answers[0].classes
    names = (*classes, *(f"{LEAST}{name}" for name in classes), *(f"{MOST}{name}" for name in classes))
    return Probabilities(np.concatenate([mean, least, most]).astype(np.float16), names, answers[0].model)
