"""Land cover on real ground: how much of a map's planted errors is found, and how much is claimed that is none.

One square kilometre of Slovenia on a date that the model was not trained on, its land use standing for the map. In each
of many rounds some woods of `min_area` or more are left out, some meadows are said to be woods and some woods to be
lakes, at random. Several dates are the unseen one and the two of the training.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry.base import BaseGeometry
from slovenia import BAND_ORDER, CLOUDED, MEADOW, MIDDLE, TAGS, TRAINED_ON, UNSEEN, WOOD, Parcel, parcels, write_dates

from daemon.config import Config
from daemon.imagery import Imagery
from daemon.tiling.grid import Block, tile_at
from detectors.base import Chip, Claim, OsmFeature, Scene
from detectors.landcover import LandcoverDetector
from detectors.segmentation import Bundle, OpenvinoEngine, segment
from detectors.segmentation.dates import look_at_each
from detectors.settings import LandcoverSettings

pytestmark = pytest.mark.benchmark

ROUNDS, SEED, ZOOM = 100, 4, 14
#: Errors in a round: woods left out, meadows said to be woods, woods said to be lakes.
PLANTED = 2
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def chip_of(path: Path, dates: int, block: Block) -> Chip:
    source = {
        "name": "s2", "kind": "geotiff", "url": str(path), "bands": list(range(1, len(BAND_ORDER) * dates + 1)),
        "depth": 16, "licence": "-", "attribution": "-", "osm_permission": "-", "acquired": "2024-06-02",
    }
    config = Config.model_validate({"imagery": [source], "tiling": {"zoom": ZOOM}})
    with Imagery.open(config, threading.Event()) as imagery:
        return imagery.chip(block, config.tiling.margin)


@pytest.mark.parametrize("scenes", [(UNSEEN,), (UNSEEN, *TRAINED_ON), (UNSEEN, CLOUDED)])
def test_planted_errors_on_real_ground(scenes: Sequence[int], data: Path, tmp_path: Path, show) -> None:
    block = Block.of(tile_at(*MIDDLE, ZOOM), 4)
    chip = chip_of(write_dates(data, scenes, tmp_path / "s2.tif"), len(scenes), block)
    bundle = Bundle.load("landcover")
    engine = OpenvinoEngine(bundle)
    answer = look_at_each(chip, bundle.card.bands, lambda one: segment(one, bundle, engine))
    detector, random = LandcoverDetector(), np.random.default_rng(SEED)
    ground = parcels(data)
    counts: dict[tuple[str, str], list[int]] = {}
    for _ in range(ROUNDS):
        said, expected = spoil(ground, random)
        features = [
            OsmFeature("way", number, 1, LONG_AGO, said.get(number, TAGS[piece.code]), piece.geometry)
            for number, piece in enumerate(ground) if number not in said or said[number]
        ]
        claims = detector.compare(Scene(chip, answer, features, [], block.lonlat()))
        for (kind, cover), where in expected.items():
            found, wrong, overlooked = score(
                [c for c in claims if (c.kind, c.evidence["cover"]) == (kind, cover)], where
            )
            counts[kind, cover] = [a + b for a, b in zip(
                counts.get((kind, cover), [0, 0, 0, 0]), [found, wrong, overlooked, len(where)], strict=True
            )]
    rows = [
        (f"{kind} {cover}", planted, found, wrong, found / max(found + wrong, 1), (planted - overlooked) / planted)
        for (kind, cover), (found, wrong, overlooked, planted) in counts.items()
    ]
    show(f"land cover, scenes {', '.join(map(str, scenes))}: {ROUNDS} spoilt maps of one square kilometre",
         ("claim", "planted", "right", "wrong", "precision", "recall"), rows)


def spoil(
    ground: Sequence[Parcel], random: np.random.Generator
) -> tuple[dict[int, dict[str, str]], dict[tuple[str, str], list[BaseGeometry]]]:
    """Number -> other tags, or none where it is left out; and what is to be found, by kind and cover."""
    least = LandcoverSettings().min_area
    woods = [n for n, piece in enumerate(ground) if piece.code == WOOD and piece.hectares >= least]
    meadows = [n for n, piece in enumerate(ground) if piece.code == MEADOW and piece.hectares >= least]
    chosen = random.choice(woods, 2 * PLANTED, replace=False).tolist()
    left_out, drowned = chosen[:PLANTED], chosen[PLANTED:]
    planted = random.choice(meadows, PLANTED, replace=False).tolist()
    said = {n: {} for n in left_out} | {n: {"natural": "water"} for n in drowned}
    said |= {n: {"natural": "wood"} for n in planted}
    return said, {
        ("missing", "forest"): [ground[n].geometry for n in chosen],  # a lake on the map hides no wood
        ("gone", "forest"): [ground[n].geometry for n in planted],
        ("gone", "water"): [ground[n].geometry for n in drowned],
    }


def score(claims: Sequence[Claim], where: Sequence[BaseGeometry]) -> tuple[int, int, int]:
    """Claims that lie for the most part on planted errors, claims that do not, and errors that no claim touches."""
    right = [
        c for c in claims if sum(c.geometry.intersection(one).area for one in where) > 0.5 * c.geometry.area
    ]
    overlooked = [one for one in where if not any(c.geometry.intersection(one).area > 0.2 * one.area for c in right)]
    return len(right), len(claims) - len(right), len(overlooked)
