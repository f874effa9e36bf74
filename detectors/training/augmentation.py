"""Photometric changes, so that the network learns roofs and not one camera, one sun and one town.

Every function takes and gives float32 [H, W, C] in 0..255, and draws from the generator it is given. Changes of colour
balance and saturation apply to whatever bands there are.
"""

from __future__ import annotations

import cv2
import numpy as np

from detectors.training.config import Colour


def recolour(image: np.ndarray, colour: Colour, random: np.random.Generator) -> np.ndarray:
    """All photometric changes in the order in which light, lens, sensor and codec make them.

    Args:
        image: uint8 [H, W, C]; of uint16, which has no common white, only the light of each band and the noise change.

    Returns:
        [H, W, C] of the same type.
    """
    if image.dtype == np.uint16:
        return relight(image, colour, random)
    out = image.astype(np.float32)
    if random.random() < colour.shadow:
        out = cast_shadow(out, random)
    out = shift_light(out, colour, random)
    if random.random() < colour.coarse:
        out = coarsen(out, random.uniform(1.0, 2.4))
    if random.random() < colour.blur:
        out = cv2.GaussianBlur(out, (0, 0), random.uniform(0.4, 1.3)).reshape(out.shape)
    if random.random() < colour.noise:
        out += random.normal(0, random.uniform(1, 9), out.shape).astype(np.float32)
    result = np.clip(out, 0, 255).astype(np.uint8)
    if random.random() < colour.jpeg:
        result = squeeze(result, int(random.integers(35, 92)))
    return result


def relight(image: np.ndarray, colour: Colour, random: np.random.Generator) -> np.ndarray:
    """Brightness of all bands, of each band, and noise in proportion: for reflectances and counts of sensors."""
    gain = (1 + random.uniform(-colour.brightness, colour.brightness)) * (
        1 + random.uniform(-colour.temperature, colour.temperature, image.shape[2])
    )
    out = image * gain
    if random.random() < colour.noise:
        out *= 1 + random.normal(0, random.uniform(0, 0.03), image.shape)
    return np.clip(np.rint(out), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def shift_light(image: np.ndarray, colour: Colour, random: np.random.Generator) -> np.ndarray:
    """Saturation, colour temperature, gamma, contrast and brightness."""
    grey = image.mean(axis=2, keepdims=True)
    saturation = 1 + random.uniform(-colour.saturation, colour.saturation)
    out = grey + (image - grey) * (saturation if random.random() >= colour.grey else 0.0)
    out *= 1 + random.uniform(-colour.temperature, colour.temperature, image.shape[2]).astype(np.float32)
    gamma = np.exp(random.uniform(-colour.gamma, colour.gamma))
    out = 255 * np.power(np.clip(out, 0, 255) / 255, np.float32(gamma))
    contrast = 1 + random.uniform(-colour.contrast, colour.contrast)
    brightness = 255 * random.uniform(-colour.brightness, colour.brightness) / 2
    return (out - out.mean()) * np.float32(contrast) + out.mean() + np.float32(brightness)


def coarsen(image: np.ndarray, factor: float) -> np.ndarray:
    """As a sensor with pixels `factor` times as wide would have seen it, enlarged again: what upsampled imagery is."""
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    seen = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR).reshape(image.shape)


def cast_shadow(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Darken a random quadrilateral with soft edges, bluish as shadows under a clear sky are."""
    height, width = image.shape[:2]
    centre = random.uniform(0, 1, 2) * (width, height)
    angles = np.sort(random.uniform(0, 2 * np.pi, 4))
    radii = random.uniform(0.08, 0.5, 4) * max(height, width)
    corners = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + centre
    mask = np.zeros((height, width), dtype=np.float32)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), random.uniform(0.8, 3.0))[..., None]
    darkness = random.uniform(0.35, 0.75)
    tint = np.full(image.shape[2], darkness, dtype=np.float32)
    tint[-1] = min(1.0, darkness * 1.12)
    return image * (1 - mask + mask * tint)


def squeeze(image: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back; band by band unless there are three."""
    if image.shape[2] == 3:
        encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
    planes = []
    for band in range(image.shape[2]):
        encoded = cv2.imencode(".jpg", image[..., band], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        planes.append(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
    return np.stack(planes, axis=-1)
