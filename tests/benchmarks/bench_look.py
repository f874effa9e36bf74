"""Seconds for one block and one tile of a whole look, stage by stage, beside the bare loop over the engine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.db import Database
from daemon.pipeline import Pipeline
from daemon.replay import BASE, replay_config
from daemon.tiling.grid import Tile, blocks_of
from daemon.tiling.queue import mark_dirty
from detectors.base import Scene
from detectors.errors import EngineUnavailable
from detectors.segmentation import open_engine, segment

pytestmark = pytest.mark.benchmark

COLUMNS = ("what", "blocks", "tiles", "s / block", "s / tile", "share of the look", "of the bare engine")


class Clock:
    """Seconds spent on each thing."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.spent[what] += time.perf_counter() - begun


@pytest.mark.parametrize("engine_name", ["openvino", "mxnet"])
def test_looks_at_real_imagery(replay_buildings: Path, server, tmp_path: Path, show, engine_name: str) -> None:
    config = replay_config(replay_buildings, tmp_path, "building")
    db, clock = Database(server.create()), Clock()
    with Pipeline(config, db) as pipeline:
        pipeline.store.bootstrap(db, replay_buildings / BASE)
        (eye,) = pipeline.eyes
        try:
            eye = replace(eye, engine=open_engine(eye.bundle, engine_name))
        except EngineUnavailable as error:
            pytest.skip(str(error))
        pipeline._eyes = [eye]
        tiles = sorted(pipeline.imagery.coverage(config.tiling.zoom))
        blocks = blocks_of(tiles, config.tiling.block)
        size = 256 + 2 * config.tiling.margin
        bare = np.zeros((1, eye.bundle.card.bands, size, size), np.uint8)
        eye.engine.predict(bare)  # the first call compiles
        for block in blocks:
            with clock.of("chip"):
                chip = pipeline.imagery.chip(block, config.tiling.margin)
            with clock.of("segment"):
                answer = segment(chip, eye.bundle, eye.engine)
            height, width = (side // 16 * 16 for side in chip.valid.shape)
            pixels = np.ascontiguousarray(chip.pixels[None, :height, :width].transpose(0, 3, 1, 2))
            with clock.of("bare engine, the same pixels at once"):
                eye.engine.predict(pixels)
            with clock.of("features"), db.transaction() as cursor:
                features = pipeline.store.features_in(cursor, block.lonlat(config.tiling.margin))
            with clock.of("compare"):
                eye.detector.compare(Scene(chip, answer, features, [], block.lonlat()))
        looks = {name: look_at(pipeline, tiles) for name in ("whole look, cold cache", "whole look, warm cache")}
    db.close()
    whole = looks["whole look, cold cache"]
    engine = clock.spent["bare engine, the same pixels at once"]
    rows = [
        [what, len(blocks), len(tiles), s / len(blocks), s / len(tiles), f"{s / whole:.0%}", f"{s / engine:.2f}"]
        for what, s in {**clock.spent, **looks}.items()
    ]
    rest = whole - sum(clock.spent[what] for what in ("chip", "segment", "features", "compare"))
    rows.append([
        "reconcile, queue, cache (the rest)", len(blocks), len(tiles), rest / len(blocks), rest / len(tiles),
        f"{rest / whole:.0%}", f"{rest / engine:.2f}",
    ])
    show(f"looking through {eye.bundle.identity} by {engine_name} on {eye.engine.device}", COLUMNS, rows)


def look_at(pipeline: Pipeline, tiles: list[Tile]) -> float:
    """Seconds to judge all tiles once."""
    config = pipeline.config.tiling
    with pipeline.db.transaction() as cursor:
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone()
        mark_dirty(cursor, tiles, config.zoom, reason="backfill", sequence=None, now=now, config=config)
    begun = time.perf_counter()
    while pipeline.look():
        pass
    return time.perf_counter() - begun
