"""What within an image is no imagery: a configured colour, and blank margins; and that roofs are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ground import encode, paint

from daemon.imagery.blank import find_blank
from daemon.imagery.decode import mask_nodata
from daemon.imagery.source import TileImage


def whole(pixels: np.ndarray) -> TileImage:
    return TileImage(pixels, np.ones(pixels.shape[:2], bool))


def recode(pixels: np.ndarray, ending: str, quality: int) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(encode(pixels, ending, quality), np.uint8), 1), cv2.COLOR_BGR2RGB)


def test_exactly_the_configured_colour_is_no_imagery():
    ground = paint(256)
    ground[100:120, 100:140] = (1, 2, 3)
    ground[130:140, 100:140] = (1, 2, 4)
    valid = mask_nodata(whole(ground), [1, 2, 3], mask_blank=False).valid
    assert (~valid).sum() == 20 * 40 and not valid[100:120, 100:140].any()


def test_what_is_masked_already_stays_masked():
    ground = paint(256)
    image = TileImage(ground, np.zeros((256, 256), bool))
    assert not mask_nodata(image, [1, 2, 3], mask_blank=True).valid.any()


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("coding", [None, (".jpg", 30), (".jpg", 75), (".webp", 75)])
def test_a_margin_of_white_or_black_is_blank_whatever_the_compression(fill, coding):
    ground = paint(256)
    outside = np.add.outer(np.arange(256), 2 * np.arange(256)) < 200  # a slanted edge cuts off a corner
    ground[outside] = fill
    pixels = recode(ground, *coding) if coding else ground
    blank = find_blank(pixels)
    assert blank is not None and blank[outside].mean() > 0.97
    near = cv2.dilate(outside.astype(np.uint8), np.ones((19, 19), np.uint8)).astype(bool)
    assert not blank[~near].any()


def test_a_tile_of_one_colour_is_blank_all_over():
    for colour in ((255, 255, 255), (0, 0, 0), (204, 204, 204), (170, 211, 223)):
        assert find_blank(np.full((256, 256, 3), colour, np.uint8)).all()


def test_white_roofs_are_imagery():
    inside, grainy, small = paint(256), paint(256), paint(256)
    inside[80:160, 80:160] = 255
    noise = np.random.default_rng(1).integers(251, 256, (90, 90, 3)).astype(np.uint8)
    grainy[:90, :90] = noise
    small[:15, :15] = 255
    edge = paint(256)
    edge[100:180, :60] = 255
    for ground in (inside, grainy, small, edge):
        assert find_blank(ground) is None


def test_the_four_real_tiles_with_missing_ground_are_found(data):
    found = {}
    for path in sorted((data / "buildings" / "banepa_unlabelled").glob("*.tif")):
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        blank = find_blank(pixels)
        if blank is not None:
            found[path.stem] = (blank.mean(), ((pixels >= 250).all(axis=2) & ~blank).mean())
    assert {name: round(share, 1) for name, (share, _) in found.items()} == {
        "OAM-386699-220245-19": 0.0,
        "OAM-386699-220246-19": 0.4,
        "OAM-386700-220245-19": 0.3,
        "OAM-386700-220246-19": 0.6,
    }
    assert max(left for _, left in found.values()) < 0.001


def test_no_real_roof_is_taken_for_missing_ground(data):
    buildings = data / "buildings"
    paths = [*(buildings / "banepa" / "tiles").glob("*.tif"), *(buildings / "kampala" / "tiles").iterdir()]
    assert len(paths) > 50
    for path in paths:
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        for row in range(0, pixels.shape[0], 256):
            for column in range(0, pixels.shape[1], 256):
                part = np.ascontiguousarray(pixels[row : row + 256, column : column + 256])
                assert find_blank(part) is None, f"{path.name} {row} {column}"
