"""A data set from an area, a source of imagery and the map: block by block, each in one split or left out."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely

from daemon.config import Config
from daemon.config import Imagery as Settings
from daemon.datasets.files import note_done, open_directory, write_pair, write_sources, write_tiles, write_whole
from daemon.datasets.labelling import LABELLINGS, Labelling
from daemon.db import Database, open_database, query
from daemon.errors import ConfigError, NotBootstrapped, OsmDataError
from daemon.imagery import Imagery
from daemon.osm import AreaOfInterest, OsmStore, open_store
from daemon.tiling.grid import TILE_PX, Block, Tile, blocks_of, tile_at
from detectors.base import Chip, OsmFeature
from detectors.datasets import UNKNOWN, Source, read_source
from detectors.datasets.balance import Balance, describe, draw, measure
from detectors.datasets.splits import RANKS, draw_split, split_of_tile
from detectors.errors import DatasetInvalid

log = logging.getLogger(__name__)

OSM, OSM_LICENCE = "© OpenStreetMap contributors", "ODbL 1.0"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built.

    Attributes:
        area: where; tiles that lie in it as a whole are taken.
        imagery: name of a configured source.
        labels: one of LABELLINGS.
        side: tiles along a side of the blocks that are split as a whole, and are a place each.
        seed, test: which blocks are for testing, and what share of them.
    """

    area: AreaOfInterest
    imagery: str
    labels: str
    zoom: int
    side: int = 8
    seed: int = 1
    test: float = 0.2

    def record(self) -> dict[str, Any]:
        return {
            "area": self.area.describe(), "imagery": self.imagery, "labels": self.labels, "zoom": self.zoom,
            "block": self.side, "seed": self.seed, "test": self.test,
        }


@dataclass(frozen=True, slots=True)
class Built:
    """What came of it: a balance for each split, and why tiles and blocks were left out."""

    balances: dict[str, Balance]
    left_out: Counter[str]

    def text(self) -> str:
        lines = [describe(self.balances)]
        lines += [f"left out: {count} {why}" for why, count in self.left_out.items()]
        if "test" not in self.balances:
            lines.append("no block fell to the test: take a larger area, a smaller --block, or another --seed")
        return "\n".join(lines) + "\n"


def build(config: Config, order: Order, out: Path, store: OsmStore, db: Database,
          progress: Callable[[int, int | None], None], stopped: Callable[[], bool] = lambda: False) -> Built | None:
    """Write the data set below `out`, or go on with what is there; None where it was stopped on the way.

    Raises:
        ConfigError: no such source of imagery, or the area is not within that of the store.
        ImageryForbidden, ImageryUnavailable: see `Imagery`; what was written stays, the next call goes on.
        DatasetInvalid: there is nothing to be had.
        BuildMismatch: `out` holds something else.
    """
    labelling = LABELLINGS[order.labels]
    chosen = _settings_of(config, order.imagery)
    with Imagery.open(config.model_copy(update={"imagery": (chosen,)})) as imagery:
        left_out: Counter[str] = Counter()
        blocks = _plan(config, order, imagery, left_out)
        done = open_directory(out, order.record())
        for number, (block, tiles) in enumerate(blocks.items()):
            progress(number, len(blocks))
            if stopped():
                return None
            name = f"{order.labels}_{block.z}_{block.bx}_{block.by}"
            if name not in done:
                split = draw_split(order.seed, block.bx, block.by, {"test": order.test})
                _write_block(out / split, name, block, tiles, imagery, store, db, labelling)
                note_done(out, name)
        progress(len(blocks), len(blocks))
    return _finish(out, order, imagery.settings[0], labelling, left_out)


def _settings_of(config: Config, name: str) -> Settings:
    found = [source for source in config.imagery if source.name == name]
    if not found:
        names = ", ".join(source.name for source in config.imagery) or "none"
        raise ConfigError("--imagery", [f"{name!r}: no such source in the configuration; there are: {names}"])
    return found[0]


def _plan(config: Config, order: Order, imagery: Imagery, left_out: Counter[str]) -> dict[Block, list[Tile]]:
    """The tiles that become part of the data set, by block, in a fixed order."""
    west, south, east, north = order.area.bounds
    first, last = tile_at(west, north, order.zoom), tile_at(east, south, order.zoom)
    count = (last.x - first.x + 1) * (last.y - first.y + 1)
    covered = imagery.coverage(order.zoom)
    if covered is None:
        if count > config.tiling.max_tiles_area:
            raise ConfigError("--area", [f"{count} tiles of zoom {order.zoom}, tiling.max_tiles_area = "
                                         f"{config.tiling.max_tiles_area}; take a smaller area or a lower zoom"])
        candidates: Iterator[Tile] = (
            Tile(order.zoom, x, y) for y in range(first.y, last.y + 1) for x in range(first.x, last.x + 1))
    else:
        candidates = (t for t in covered if first.x <= t.x <= last.x and first.y <= t.y <= last.y)
    kept: list[Tile] = []
    whole = _within(order.area)
    for tile in candidates:
        if not whole(tile):
            left_out["tiles at the edge of the area"] += 1
        elif split_of_tile(tile.x, tile.y, order.side, order.seed, {"test": order.test}) is None:
            left_out["tiles of the training that touch a test block"] += 1
        else:
            kept.append(tile)
    if not kept:
        raise DatasetInvalid(f"no tile of zoom {order.zoom} with imagery of {order.imagery} lies in the area as a whole"
                             + "".join(f"; {n} {why}" for why, n in left_out.items()))
    return blocks_of(sorted(kept, key=lambda t: (t.y // order.side, t.x // order.side, t.y, t.x)), order.side)


def _within(area: AreaOfInterest) -> Callable[[Tile], bool]:
    """Whether the area holds a tile as a whole; a hair's breadth is no matter."""
    wide = area.geometry.buffer(1e-9)
    shapely.prepare(wide)
    return lambda tile: bool(shapely.covers(wide, shapely.box(*Block(tile.z, tile.x, tile.y, 1).lonlat())))


def _write_block(directory: Path, name: str, block: Block, tiles: Sequence[Tile], imagery: Imagery, store: OsmStore,
                 db: Database, labelling: Labelling) -> None:
    """Write a block, unless it has no imagery or nothing is known of it."""
    chip = imagery.chip(block, 0)
    wanted = np.zeros(chip.valid.shape, dtype=bool)
    for tile in tiles:
        row, column = (tile.y - block.by * block.side) * TILE_PX, (tile.x - block.bx * block.side) * TILE_PX
        wanted[row : row + TILE_PX, column : column + TILE_PX] = True
    valid = chip.valid & wanted
    chip = replace(chip, valid=valid, pixels=np.where(valid[..., None], chip.pixels, np.uint8(0)))
    if not chip.valid.any():
        return
    with db.transaction() as cursor:
        found = store.features_in(cursor, block.lonlat(margin_px=32))
    features: list[OsmFeature] = [feature for feature in found if labelling.selects(feature.tags)]
    if labelling.draw is None:
        areas = [f for f in features if f.geometry.geom_type in ("Polygon", "MultiPolygon")]
        write_tiles(directory, name, block, chip, areas)
        return
    chip = _crop(chip, block, tiles)
    mask = labelling.draw(features, chip.frame)
    if (mask[chip.valid] != UNKNOWN).any():
        write_pair(directory, name, chip, mask)


def _crop(chip: Chip, block: Block, tiles: Sequence[Tile]) -> Chip:
    """The part of a block's chip that its tiles span."""
    columns, rows = [t.x - block.bx * block.side for t in tiles], [t.y - block.by * block.side for t in tiles]
    left, top, right, bottom = min(columns), min(rows), max(columns) + 1, max(rows) + 1
    step = (chip.bounds[2] - chip.bounds[0]) / block.side
    west, _, _, north = chip.bounds
    window = np.s_[top * TILE_PX : bottom * TILE_PX, left * TILE_PX : right * TILE_PX]
    bounds = (west + left * step, north - bottom * step, west + right * step, north - top * step)
    return replace(chip, pixels=chip.pixels[window], valid=chip.valid[window], bounds=bounds)


def _finish(out: Path, order: Order, settings: Settings, labelling: Labelling, left_out: Counter[str]) -> Built:
    """Say how the splits are read, read them back, and report."""
    splits = {}
    for name in RANKS:
        if any((out / name).glob("*/tiles" if labelling.draw is None else "images/*.tif")):
            splits[name] = {
                "path": name, "use": "test" if name == "test" else "train", "imagery": settings.attribution,
                "imagery_licence": settings.licence, "labels": OSM, "labels_licence": OSM_LICENCE,
                **({"reader": "tiles", "zoom": order.zoom} if labelling.draw is None else {
                    "reader": "geotiff",
                    "label_classes": {str(index): name for index, name in enumerate(labelling.classes)},
                }),
            }
    if not splits:
        raise DatasetInvalid(f"{out}: no block has both imagery of {settings.name} and labels")
    write_sources(out, splits)
    sources = {name: Source.model_validate(keys) for name, keys in splits.items()}
    balances = {name: measure(read_source(out, source)) for name, source in sources.items()}
    built = Built(balances, left_out)
    write_whole(out / "report.txt", built.text().encode())
    ok, png = cv2.imencode(".png", draw(balances)[..., ::-1])
    assert ok, "OpenCV encodes every 8-bit image of three bands"
    write_whole(out / "report.png", png.tobytes())
    return built


@contextmanager
def labelled_store(
    config: Config, labels: str, area: AreaOfInterest, extract: Path | None
) -> Iterator[tuple[OsmStore, Database]]:
    """A store that has the objects which labels are made of.

    Args:
        area: where labels are wanted.
        extract: an OSM file to make a store of, in a database that is thrown away; None takes the configured store.

    Raises:
        NotBootstrapped: the configured store is empty.
        OsmDataError: it was made for detectors that ask for other objects.
        ConfigError: it was made for another area.
    """
    labelling = LABELLINGS[labels]
    if extract is not None:
        with tempfile.TemporaryDirectory(prefix="mapgap-build-") as scratch:
            own = config.model_copy(update={
                "data_dir": Path(scratch), "database": config.database.model_copy(update={"dsn": ""}),
            })
            with open_database(own) as db, closing(OsmStore(area, labelling.selects)) as store:
                store.bootstrap(db, extract)
                yield store, db
        return
    with open_database(config) as db, closing(open_store(config, labelling.selects)) as store:
        if store.area is not None and not store.area.geometry.buffer(1e-9).covers(area.geometry):
            raise ConfigError("--area", [f"reaches beyond the area of the configuration, {store.area.bounds}: what is "
                                         "mapped there is not known; take a smaller one, or give --osm FILE.osm.pbf"])
        if config.osm.source == "store":
            _require(db, store, labelling)
        yield store, db


def _require(db: Database, store: OsmStore, labelling: Labelling) -> None:
    with db.transaction() as cursor:
        if store.position(cursor) is None:
            raise NotBootstrapped("the store is empty; run `mapgap bootstrap FILE.osm.pbf` first, or give --osm FILE")
        cursor.execute(query("store_selection"))
        row = cursor.fetchone()
    made_for = set(row[0] or {"building": ""}) if row else {"building"}
    if labelling.detector not in made_for:
        has = ", ".join(sorted(made_for)) or "no detector"
        raise OsmDataError(f"the store was bootstrapped for {has} and lacks what labels of "
                           f"{labelling.name} are made of; give an extract: --osm FILE.osm.pbf")
