"""Several dates of the same ground in one picture: each is looked at by itself, and the answers are put together."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Chip, Probabilities
from detectors.errors import BundleMismatch
from detectors.segmentation.dates import LEAST, MOST, look_at_each

#: The chip of a date holds how likely water is in its first band, in percent; the other is there to be counted.
BANDS, CLASSES = 2, ("land", "water")


def chip(*percent: float | np.ndarray, valid: np.ndarray | None = None) -> Chip:
    pixels = np.ones((4, 5, BANDS * len(percent)), np.uint16)
    for i, one in enumerate(percent):
        pixels[..., i * BANDS] = one
        pixels[..., i * BANDS + 1] = np.asarray(one) > 0
    return Chip(pixels, np.ones((4, 5), bool) if valid is None else valid, (0, 0, 50, 40), None, "s2")


def look(one: Chip) -> Probabilities:
    assert one.pixels.shape == (4, 5, BANDS) and one.pixels.flags.c_contiguous
    water = np.where(one.valid, one.pixels[..., 0] / 100, 0)
    return Probabilities(np.stack([1 - water, water]).astype(np.float16), CLASSES, "net@1")


def test_one_date_is_answered_as_ever():
    answer = look_at_each(chip(30), BANDS, look)
    assert answer.classes == CLASSES and answer.of("water") == pytest.approx(np.full((4, 5), 0.3), abs=1e-3)


def test_of_several_dates_the_mean_the_least_and_the_most_are_told():
    answer = look_at_each(chip(90, 10, 50), BANDS, look)
    assert answer.classes[:2] == CLASSES and len(answer.classes) == 6 and answer.model == "net@1"
    seen = {name: float(answer.of(name)[2, 3]) for name in ("water", f"{LEAST}water", f"{MOST}water", f"{MOST}land")}
    expected = {"water": 0.5, f"{LEAST}water": 0.1, f"{MOST}water": 0.9, f"{MOST}land": 0.9}
    assert seen == pytest.approx(expected, abs=1e-3)
    assert answer.values.dtype == np.float16


def test_a_cloud_that_was_cut_out_has_no_say():
    clouded = np.full((4, 5), 90)
    clouded[0] = 0
    answer = look_at_each(chip(80, clouded), BANDS, look)
    for name, clear, under in (("water", 0.85, 0.8), (f"{LEAST}water", 0.8, 0.8), (f"{MOST}water", 0.9, 0.8)):
        assert answer.of(name)[3] == pytest.approx(np.full(5, clear), abs=1e-3)
        assert answer.of(name)[0] == pytest.approx(np.full(5, under), abs=1e-3)


def test_what_no_date_has_seen_shows_nothing_and_hides_nothing():
    valid = np.ones((4, 5), bool)
    valid[:, 0] = False
    clouded = np.full((4, 5), 90)
    clouded[0] = 0
    answer = look_at_each(chip(clouded, clouded, valid=valid), BANDS, look)
    for unseen in (answer.values[:, 0, :], answer.values[:, :, 0]):
        assert (unseen[:4] == 0).all() and (unseen[4:] == 1).all()
    assert (answer.of("water")[1:, 1:] > 0.8).all()


@pytest.mark.parametrize("bands", [4, 5, 7])
def test_bands_that_are_no_whole_number_of_dates_are_refused(bands):
    with pytest.raises(BundleMismatch, match=f"imagery s2 has 6 bands, the model takes {bands}: neither"):
        look_at_each(chip(1, 2, 3), bands, look)
