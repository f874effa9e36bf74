"""What a built data set consists of on disk. Every place appears whole or not at all.

    OUT/train/PLACE/tiles/PLACE-X-Y-Z.png, OUT/train/PLACE/labels.geojson       buildings: reader "tiles"
    OUT/train/images/PLACE.tif, OUT/train/masks/PLACE.tif                       others: reader "geotiff"
    OUT/test/...                                                                the same
    OUT/train/source.toml, OUT/sources.toml     how to read them: of one split; all of them, for a training's recipe
    OUT/build.json, OUT/done.txt                what was asked for; which blocks need no further look
    OUT/report.txt, OUT/report.png
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from rasterio.transform import from_bounds
from shapely.geometry import mapping

from daemon.errors import MapgapError
from daemon.tiling.grid import TILE_PX, Block
from detectors.base import Chip, OsmFeature
from detectors.datasets import UNKNOWN

ASKED, DONE = "build.json", "done.txt"


class BuildMismatch(MapgapError):
    """The directory holds something else than this build."""


def open_directory(out: Path, asked: Mapping[str, Any]) -> set[str]:
    """Make or go on with a build; returns the blocks that need no further look.

    Raises:
        BuildMismatch: the directory holds other things, or a build of which something else was asked.
    """
    path = out / ASKED
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise BuildMismatch(f"{out}: not empty, and no build that could go on; give another --out")
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asked, indent=1).encode())
        return set()
    try:
        before = json.loads(path.read_text())
        differing = [key for key in asked if before.get(key) != asked[key]]
    except (ValueError, AttributeError) as error:
        raise BuildMismatch(f"{path}: not readable: {error}; give another --out") from error
    if differing:
        said = "; ".join(f"{key} was {before.get(key)}, now {asked[key]}" for key in differing)
        raise BuildMismatch(f"{out}: holds a build with other settings ({said}); give another --out")
    done = out / DONE
    return set(done.read_text().split()) if done.is_file() else set()


def note_done(out: Path, name: str) -> None:
    """Remember that a block needs no further look."""
    with (out / DONE).open("a") as file:
        file.write(f"\n{name}\n")  # a line that was cut off before stays by itself


def write_tiles(directory: Path, name: str, block: Block, chip: Chip, features: Sequence[OsmFeature]) -> None:
    """A place as tiles with outlines: those of its tiles that have any imagery."""
    with _appearing(directory / name) as place:
        (place / "tiles").mkdir(parents=True)
        rgba = np.dstack([chip.pixels[..., ::-1], chip.valid.astype(np.uint8) * 255])
        for tile in block.tiles():
            row, column = tile.y - block.by * block.side, tile.x - block.bx * block.side
            part = rgba[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
            if part[..., 3].any():
                ok, png = cv2.imencode(".png", part)
                assert ok, "OpenCV encodes every 8-bit image of four bands"
                (place / "tiles" / f"{name}-{tile.x}-{tile.y}-{tile.z}.png").write_bytes(png.tobytes())
        labels = [
            {"type": "Feature", "properties": {"osm": f.ref, **f.tags}, "geometry": mapping(f.geometry)}
            for f in features
        ]
        (place / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": labels}))


def write_pair(directory: Path, name: str, chip: Chip, mask: np.ndarray) -> None:
    """A place as a GeoTIFF with alpha, and a mask on its grid."""
    height, width = chip.valid.shape
    common = {
        "driver": "GTiff", "width": width, "height": height, "dtype": "uint8", "crs": "EPSG:3857",
        "transform": from_bounds(*chip.bounds, width, height), "compress": "deflate",
    }
    alpha = np.where(chip.valid, np.uint8(255), np.uint8(0))
    known = np.where(chip.valid, mask, np.uint8(UNKNOWN))
    for kind, bands, more in (
        ("masks", known[None], {"count": 1}),
        ("images", np.concatenate([chip.pixels.transpose(2, 0, 1), alpha[None]]),
         {"count": 4, "photometric": "RGB", "alpha": "YES"}),
    ):
        (directory / kind).mkdir(parents=True, exist_ok=True)
        target = directory / kind / f"{name}.tif"
        draft = target.with_name(f".{name}.part")
        with rasterio.open(draft, "w", **common, **more) as file:
            file.write(bands)
        draft.replace(target)


def write_sources(out: Path, splits: Mapping[str, Mapping[str, Any]]) -> None:
    """How to read the splits: {split: keys of its source}."""
    texts = {name: to_toml(keys) for name, keys in splits.items()}
    for name, keys in splits.items():
        write_whole(out / name / "source.toml", to_toml({k: v for k, v in keys.items() if k != "path"}).encode())
    write_whole(out / "sources.toml", "\n".join(f"[[sources]]\n{text}" for text in texts.values()).encode())


def to_toml(table: Mapping[str, Any]) -> str:
    """Texts, numbers and flat tables of texts as TOML; JSON's strings are TOML's."""
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{json.dumps(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            lines.append(f"{key} = {{{inner}}}")
        else:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def write_whole(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(content)
    draft.replace(path)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory to be filled, which gets its name when it is full."""
    draft = target.with_name(f".{target.name}.part-{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.part-*"):
        shutil.rmtree(left)
    draft.mkdir()
    try:
        yield draft
        if target.exists():  # written, but not noted as done: the machine stopped in between
            shutil.rmtree(target)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
