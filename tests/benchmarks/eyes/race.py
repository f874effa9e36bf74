"""One engine in one precision, measured in a process of its own: `python race.py` reads a job as JSON from stdin.

The bare loop asks the engine for the same pixels again and again; the whole path reads image files, puts chips
together, segments them and finds footprints. Both are measured in turns, so that a machine that is busy with something
else slows both.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from detectors.base import Chip
from detectors.segmentation import Bundle, segment
from detectors.segmentation.engines import ENGINES, Engine
from detectors.vectorize.footprints import outline_regions
from detectors.vectorize.raster import Grid

#: Pixels of a block of 4 x 4 tiles with its margin of 96, as the daemon has them.
BLOCK_PX = 1216
TILE_PX = 256


def main() -> None:
    job = json.load(sys.stdin)
    bundle = Bundle.load(job["bundle"])
    before = peak_mb()
    engine = ENGINES[job["engine"]](bundle, job["threads"], precision=job["precision"])
    images = [Path(path) for path in job["images"]]
    pixels = np.ascontiguousarray(load(images).transpose(2, 0, 1)[None])
    engine.predict(pixels)  # the first call prepares
    bare, segmented, whole, classified = [], [], [], []
    engine.classify(pixels)
    chip = chip_of(load(images), bundle)
    for _ in range(job["rounds"]):
        bare.append(seconds(lambda: [engine.predict(pixels) for _ in range(job["blocks"])]))
        segmented.append(seconds(lambda: [segment(chip, bundle, engine) for _ in range(job["blocks"])]))
        whole.append(seconds(lambda: look_ahead(images, job["blocks"], bundle, engine)))
        classified.append(seconds(lambda: [engine.classify(pixels) for _ in range(job["blocks"])]))
    tiles = job["blocks"] * (BLOCK_PX / TILE_PX) ** 2
    json.dump({
        "device": engine.device, "peak_mb": peak_mb(), "base_mb": before,
        **{name: tiles / min(times) for name, times in (
            ("bare", bare), ("segment", segmented), ("whole", whole), ("classify", classified))},
    }, sys.stdout)


def look_ahead(images: list[Path], blocks: int, bundle: Bundle, engine: Engine) -> None:
    """As the daemon does it: one block is loaded and segmented in a thread while the one before is vectorised."""

    def see():
        chip = chip_of(load(images), bundle)
        return chip, segment(chip, bundle, engine)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(see)
        for number in range(blocks):
            seen = coming.result()
            if number + 1 < blocks:
                coming = pool.submit(see)
            vectorise(*seen, bundle)


def load(paths: list[Path]) -> np.ndarray:
    """uint8 [BLOCK_PX, BLOCK_PX, 3]: image files side by side, as often as needed."""
    canvas = np.empty((BLOCK_PX, BLOCK_PX, 3), np.uint8)
    number = 0
    for top in range(0, BLOCK_PX, TILE_PX):
        for left in range(0, BLOCK_PX, TILE_PX):
            image = cv2.imread(str(paths[number % len(paths)]))[:TILE_PX, :TILE_PX, ::-1]
            part = canvas[top : top + TILE_PX, left : left + TILE_PX]
            part[:] = image[: part.shape[0], : part.shape[1]]
            number += 1
    return canvas


def chip_of(pixels: np.ndarray, bundle: Bundle) -> Chip:
    side = BLOCK_PX * bundle.card.gsd_m
    return Chip(pixels, np.ones(pixels.shape[:2], bool), (0.0, 0.0, side, side), None, "bench")


def vectorise(chip: Chip, answer, bundle: Bundle) -> int:
    """Outlines of all that is likelier something than background; how many there are."""
    probability = 1 - answer.values[bundle.background].astype(np.float32)
    _, labels = cv2.connectedComponents((probability > 0.5).astype(np.uint8), connectivity=4)
    return len(outline_regions(labels, probability, Grid.of(chip.frame)))


def seconds(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
