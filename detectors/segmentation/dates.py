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
            f"the model takes {bands} bands, and imagery {chip.source} gives {chip.pixels.shape[2]}: neither one date "
            "nor several; see bands of [[imagery]]"
        )
    return count


def look_at_each(chip: Chip, bands: int, look: Callable[[Chip], Probabilities]) -> Probabilities:
    """The answer for a chip of one date or more.

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
    answers = [
        look(replace(chip, pixels=np.ascontiguousarray(chip.pixels[..., i * bands : (i + 1) * bands])))
        for i in range(count)
    ]
    classes = answers[0].classes
    values = np.stack([answer.values.astype(np.float32) for answer in answers])
    merged = np.concatenate([values.mean(axis=0), values.min(axis=0), values.max(axis=0)]).astype(np.float16)
    names = (*classes, *(f"{LEAST}{name}" for name in classes), *(f"{MOST}{name}" for name in classes))
    return Probabilities(merged, names, answers[0].model)
