"""A picture of the ground, cut into tiles in every way that sources know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.config import Client, Config
from daemon.config import Imagery as Settings

#: Where the picture lies: its upper left tile at zoom 18, 8 x 8 tiles of 256 px.
ORIGIN = (18, 193344, 110120)
SIDE = 8


def encode(pixels: np.ndarray, ending: str = ".png", quality: int | None = None) -> bytes:
    """RGB, RGBA or grey pixels as an image file."""
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, codes[pixels.shape[2]])
    flag = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}.get(ending)
    done, data = cv2.imencode(ending, bgr, [flag, quality] if flag and quality else [])
    assert done
    return data.tobytes()


def paint(side: int, seed: int = 0) -> np.ndarray:
    """Something like ground: soft patches with grain, nowhere white or black. uint8 [side, side, 3]."""
    random = np.random.default_rng(seed)
    soft = cv2.resize(random.uniform(60, 190, (side // 16, side // 16, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + random.normal(0, 4, soft.shape), 20, 235).astype(np.uint8)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """uint8 [2048, 2048, 3]; its place is ORIGIN."""
    picture = paint(SIDE * 256)
    picture.flags.writeable = False
    return picture


@pytest.fixture(scope="session")
def tiles(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture as {z}/{x}/{y}.png of 256 px at the zoom of ORIGIN."""
    root = tmp_path_factory.mktemp("tiles")
    cut(picture, root)
    return root


def cut(picture: np.ndarray, root: Path, size: int = 256, ending: str = ".png") -> None:
    """Write the picture as tiles of `size` pixels; those of 512 px have the zoom above ORIGIN's."""
    z, x, y = ORIGIN
    up = size // 512
    for row in range(picture.shape[0] // size):
        for column in range(picture.shape[1] // size):
            path = root / str(z - up) / str((x >> up) + column) / f"{(y >> up) + row}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = picture[row * size : (row + 1) * size, column * size : (column + 1) * size]
            path.write_bytes(encode(np.ascontiguousarray(part), ending))


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Settings of a source that may be used; the rest by keyword."""

    def make(url: Path | str, **others: object) -> Settings:
        permitted = {"licence": "CC-BY-4.0", "attribution": "Ground Painters", "osm_permission": "https://example.org/yes"}
        values = {"name": "paint", "kind": "xyz", "url": str(url)} | permitted | others
        return Settings(**values)

    return make


@pytest.fixture
def configure(tmp_path: Path, settings: Callable[..., Settings]) -> Callable[..., Config]:
    """A configuration with these sources (settings, or just their url), at the zoom of ORIGIN."""

    def make(*sources: Settings | Path | str, client: dict[str, object] | None = None, **sections: object) -> Config:
        manners = {"contact": "tests@example.org", "retries": 0, "rate": 1e6, "timeout": 5.0} | (client or {})
        return Config(
            data_dir=tmp_path / "data",
            client=Client(**manners),
            imagery=tuple(s if isinstance(s, Settings) else settings(s) for s in sources),
            **({"tiling": {"zoom": ORIGIN[0]}} | sections),
        )

    return make
