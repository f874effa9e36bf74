"""Markers for maps: a pin in the colour of an item, drawn here, so that nothing has to be fetched from elsewhere."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

#: Pixels; the tip is in the middle of the lower edge.
WIDTH, HEIGHT = 17, 33
#: Pixels drawn for each that is shown, along one side: edges are smooth by their mean.
_FINE = 4
GREY = "#808080"
#: Name of the sprite that says that a tile holds more than it shows.
MORE = "limit"


@lru_cache(maxsize=256)
def pin_png(colour: str) -> bytes:
    """A pin as PNG; colour "#rrggbb"."""
    return _png(_pin(colour))


def sheet_png(colours: Sequence[str], scale: int = 1) -> bytes:
    """Pins side by side, then the mark of a tile that holds more; see `sheet_places`."""
    pictures = [*(_pin(colour, scale) for colour in colours), _ring(scale)]
    return _png(np.concatenate(pictures, axis=1))


def sheet_places(names: Sequence[str], scale: int = 1) -> dict[str, dict[str, Any]]:
    """Where each is in the sheet, as MapLibre reads it."""
    return {
        name: {"x": i * WIDTH * scale, "y": 0, "width": WIDTH * scale, "height": HEIGHT * scale, "pixelRatio": scale}
        for i, name in enumerate([*names, MORE])
    }


def sheet_css(names: Sequence[str], url: str) -> str:
    """A style sheet with a class for each pin."""
    rules = [
        f".{name} {{ background: url('{url}') -{i * WIDTH}px 0; width: {WIDTH}px; height: {HEIGHT}px; "
        "display: inline-block; }" for i, name in enumerate(names)
    ]
    return "\n".join([*rules, ""])


def _pin(colour: str, scale: int = 1) -> np.ndarray:
    """uint8 [H, W, 4]: a round head of the colour with a white eye, on a needle."""
    y, x = _grid(scale)
    radius, middle = WIDTH / 2 - 0.5, WIDTH / 2
    away = np.hypot(x - middle, y - middle)
    half = np.clip((HEIGHT - y) / (HEIGHT - middle), 0, 1) * radius * 0.8
    shape = (away <= radius) | ((y > middle) & (np.abs(x - middle) <= half))
    eye = away <= radius * 0.35
    rgb = np.where(eye[..., None], 255.0, np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)], float))
    return _smooth(rgb, shape, scale)


def _ring(scale: int) -> np.ndarray:
    y, x = _grid(scale)
    away = np.hypot(x - WIDTH / 2, y - HEIGHT / 2)
    shape = np.abs(away - WIDTH / 2 + 2) <= 1
    return _smooth(np.full((*shape.shape, 3), float(int(GREY[1:3], 16))), shape, scale)


def _grid(scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the fine pixels, in pixels."""
    fine = _FINE * scale
    return np.mgrid[0:HEIGHT * fine, 0:WIDTH * fine] / fine + 0.5 / fine


def _smooth(rgb: np.ndarray, shape: np.ndarray, scale: int) -> np.ndarray:
    size = (HEIGHT * scale, _FINE, WIDTH * scale, _FINE)
    alpha = shape.astype(float)
    cover = alpha.reshape(size).mean((1, 3))
    mean = (rgb * alpha[..., None]).reshape(*size, 3).mean((1, 3)) / np.maximum(cover, 1e-9)[..., None]
    return np.round(np.dstack([mean, cover * 255])).astype(np.uint8)


def _png(picture: np.ndarray) -> bytes:
    """RGBA uint8 [H, W, 4] -> PNG (W3C PNG, 2003), unfiltered."""
    height, width = picture.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, width * 4)], axis=1)
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), _chunk(b"IEND", b""),
    ))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
