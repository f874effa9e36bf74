"""A chip's probabilities have no seams, no holes, and nothing to say where there is no imagery."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Chip
from detectors.errors import BundleMismatch
from detectors.segmentation import Bundle, OpenvinoEngine, segment
from detectors.segmentation.stitching import _starts

#: True metres a pixel at the equator on zoom 19.
GSD = 0.2986


@pytest.fixture(scope="module")
def engine(tiny_bundle):
    return OpenvinoEngine(tiny_bundle, precision="f32")


def chip(pixels: np.ndarray, valid: np.ndarray | None = None, gsd: float = GSD) -> Chip:
    height, width = pixels.shape[:2]
    if valid is None:
        valid = np.ones((height, width), dtype=bool)
    return Chip(pixels, valid, (0.0, 0.0, width * gsd, height * gsd), None, "test")


def town(height: int, width: int) -> np.ndarray:
    """Bright roofs on dark ground, as the tiny network knows them."""
    random = np.random.default_rng(height)
    image = random.normal(70, 12, (height, width, 3))
    for left in range(5, width - 30, 37):
        for top in range(5, height - 30, 41):
            image[top : top + 24, left : left + 22] += 105
    return np.clip(image, 0, 255).astype(np.uint8)


def planes(probabilities) -> np.ndarray:
    return probabilities.values.astype(np.float32)


def test_roofs_come_out_where_they_are(tiny_bundle, engine):
    pixels = town(128, 128)
    found = segment(chip(pixels), tiny_bundle, engine)
    assert found.values.shape == (3, 128, 128) and found.values.dtype == np.float16
    assert found.classes == ("background", "building", "border") and found.model == tiny_bundle.identity
    footprint = tiny_bundle.footprint_of(found.values) > 0.5
    assert (footprint == (pixels.mean(axis=2) > 120)).mean() > 0.95


@pytest.mark.parametrize("size", [(300, 310), (257, 129), (128, 400)])
def test_windows_give_what_the_whole_gives(tiny_bundle, engine, size):
    pixels = town(*size)
    whole = planes(segment(chip(pixels), tiny_bundle, engine))
    cut = planes(segment(chip(pixels), tiny_bundle, engine, window=128, overlap=48))
    np.testing.assert_allclose(cut, whole, atol=0.03)
    np.testing.assert_allclose(cut.sum(axis=0), 1, atol=5e-3)


def test_a_chip_shifted_by_the_stride_gives_the_shifted_answer(tiny_bundle, engine):
    pixels = town(200, 200)
    step = 3 * tiny_bundle.card.stride
    whole = planes(segment(chip(pixels), tiny_bundle, engine))
    shifted = planes(segment(chip(pixels[step:, step:]), tiny_bundle, engine))
    inside = np.s_[:, 40:140, 40:140]
    np.testing.assert_allclose(shifted[inside], whole[:, step:, step:][inside], atol=2e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (127, 5), (61, 67)])
def test_any_size_is_segmented(tiny_bundle, engine, size):
    found = planes(segment(chip(town(*size)), tiny_bundle, engine))
    assert found.shape == (3, *size)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=5e-3)


def test_where_there_is_no_imagery_there_is_background_and_nothing_else(tiny_bundle, engine):
    pixels = town(160, 160)
    valid = np.ones((160, 160), dtype=bool)
    valid[40:90, 30:100] = False
    pixels[~valid] = 255
    found = planes(segment(chip(pixels, valid), tiny_bundle, engine))
    assert (found[0][~valid] == 1).all() and (found[1:][:, ~valid] == 0).all()
    pixels[~valid] = 0
    again = planes(segment(chip(pixels, valid), tiny_bundle, engine))
    assert np.array_equal(found, again), "what lies under invalid pixels must not matter"


def test_a_chip_without_any_imagery_is_all_background(tiny_bundle, engine):
    found = planes(segment(chip(town(64, 64), np.zeros((64, 64), dtype=bool)), tiny_bundle, engine))
    assert (found[0] == 1).all() and (found[1:] == 0).all()


@pytest.mark.parametrize("bands", [1, 4])
def test_other_bands_are_refused(tiny_bundle, engine, bands):
    with pytest.raises(BundleMismatch, match=f"has {bands} bands, model tiny@.* takes 3"):
        segment(chip(np.zeros((64, 64, bands), np.uint8)), tiny_bundle, engine)


@pytest.mark.parametrize(("gsd", "zoom"), [(0.597, 19), (0.0746, 19), (19.1, 19)])
def test_another_resolution_is_refused_with_the_zoom_that_fits(tiny_bundle, engine, gsd, zoom):
    with pytest.raises(BundleMismatch, match=rf"works at 0.2 to 0.4 m; set tiling.zoom = {zoom}"):
        segment(chip(town(64, 64), gsd=gsd), tiny_bundle, engine)


@pytest.mark.parametrize(("length", "window", "overlap"),
                         [(1281, 1280, 192), (5000, 512, 128), (33, 16, 4), (300, 64, 63)])
def test_windows_cover_everything_and_start_on_the_stride(length, window, overlap):
    starts = _starts(length, window, overlap, 16)
    covered = np.zeros(length, dtype=bool)
    for start in starts:
        assert start % 16 == 0
        covered[start : start + window] = True
    assert covered.all() and starts == sorted(set(starts))


def test_turned_and_mirrored_looks_are_averaged(tiny_bundle, engine):
    """Whichever way a chip lies, the averaged answer lies the same way; a single answer does not quite."""
    pixels = town(64, 96)
    found = planes(segment(chip(pixels), tiny_bundle, engine, augment=True))
    assert found.shape == (3, 64, 96)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=5e-3)
    for turns, mirrored in ((1, False), (2, True), (0, True)):
        turned = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
        back = np.rot90(planes(segment(chip(turned), tiny_bundle, engine, augment=True)), -turns, axes=(1, 2))
        np.testing.assert_allclose(back[..., ::-1] if mirrored else back, found, atol=2e-3)
    single = planes(segment(chip(pixels), tiny_bundle, engine))
    assert 0 < np.abs(found - single).mean() < 0.05


def test_a_chip_in_one_window_is_the_engines_own_answer(tiny_bundle, engine):
    pixels = town(128, 64)
    found = segment(chip(pixels), tiny_bundle, engine).values
    assert np.array_equal(found, engine.predict(pixels.transpose(2, 0, 1)[None])[0])


def test_at_the_edge_of_the_imagery_a_standardised_network_sees_what_it_would_see_of_that_part_alone():
    """Much empty ground around would make the rest look like one bright spot in an even plain."""
    bundle = Bundle.load("landcover")
    assert bundle.card.standardise
    seeing = OpenvinoEngine(bundle, precision="f32", exact=True)
    random = np.random.default_rng(2)
    coarse = random.uniform(500, 3000, (8, 8, bundle.card.bands)).repeat(8, axis=0).repeat(8, axis=1)
    ground = (coarse + random.normal(0, 60, coarse.shape)).clip(1).astype(np.uint16)
    pixels, valid = np.zeros((256, 256, bundle.card.bands), np.uint16), np.zeros((256, 256), bool)
    pixels[40:104, 150:214], valid[40:104, 150:214] = ground, True
    alone = planes(segment(chip(ground, gsd=10.0), bundle, seeing))
    within = planes(segment(chip(pixels, valid, gsd=10.0), bundle, seeing))
    np.testing.assert_allclose(within[:, 40:104, 150:214], alone, atol=2e-3)
    assert np.ptp(alone.argmax(axis=0)) > 0 and (within[0][~valid] == 1).all()
    holes = valid.copy()
    holes[60:80, 170:190] = False  # a cloud that was cut out
    kept = holes[40:104, 150:214]
    clouded = planes(segment(chip(pixels, holes, gsd=10.0), bundle, seeing))[:, 40:104, 150:214]
    assert (clouded.argmax(axis=0) == alone.argmax(axis=0))[kept].mean() > 0.9
