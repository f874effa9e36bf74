"""Images a second into batches: GeoIter, RecordIO and plain files, side by side on the same imagery and labels.

An image is 256 x 256 px of three bands with its mask, ready in a batch [N, C, H, W]. Rounds of all ways alternate, and
the median counts, so that a busy moment of the machine hits all alike. Everything is in the system's cache.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psycopg2
import pytest
import shapely
from gis_server import databases

from detectors.datasets import Place, Source, read_source
from detectors.datasets.packing import pack_places
from detectors.datasets.records import RecordSet
from detectors.training.config import TrainingConfig
from detectors.training.geoiter.raster_wkb import Band, Raster, write_raster
from detectors.training.record_crops import RecordSampler

pytestmark = pytest.mark.benchmark

SIDE, BATCH, ROUNDS, ROUND_S = 256, 16, 3, 1.5
#: What RecordIO must be, in images a second, against the best of GeoIter.
BAR = 5.0
#: With ST_Union in both, GeoIter is several times slower still; the first line of the table has it.
IMAGE = "SELECT rast FROM ortho WHERE ST_Intersects(rast, {tile})"
LABEL = """SELECT ST_AsRaster(geom, (SELECT rast FROM tile_rast), '8BUI', 1, 0)
FROM building WHERE ST_Intersects(geom, {tile})"""
UNION_IMAGE = "SELECT ST_Clip(ST_Union(rast), {tile}) FROM ortho WHERE ST_Intersects(rast, {tile})"
UNION_LABEL = LABEL.replace("SELECT ST_AsRaster", "SELECT ST_Union(ST_AsRaster", 1).replace("1, 0)", "1, 0), 'MAX')")

Batches = Iterator[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def place(data: Path) -> Place:
    words = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "-")
    (place,) = read_source(data, Source(path="buildings/banepa", zoom=19, use="train", **words))
    return place


@pytest.fixture(scope="module")
def dsn(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The imagery in pieces of 256 px, and the outlines, in PostGIS with indexes on both."""
    with databases(tmp_path_factory.mktemp("gis"), "postgis", "postgis_raster") as make:
        dsn = make()
        pixel = (place.bounds[2] - place.bounds[0]) / place.valid.shape[1]
        west, north = place.bounds[0], place.bounds[3]
        link = psycopg2.connect(dsn)
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute("CREATE TABLE ortho (rast raster); CREATE TABLE building (geom geometry)")
            for row in range(0, place.valid.shape[0], SIDE):
                for column in range(0, place.valid.shape[1], SIDE):
                    part = place.pixels[row : row + SIDE, column : column + SIDE]
                    raster = Raster(part.shape[:2], (west + column * pixel, north - row * pixel), (pixel, -pixel), 3857,
                                    tuple(Band(part[..., band]) for band in range(part.shape[2])))
                    cursor.execute("INSERT INTO ortho VALUES (ST_RastFromWKB(%s))", (write_raster(raster),))
            for outline in place.outlines:
                ground = shapely.affinity.affine_transform(outline, [pixel, 0, 0, -pixel, west, north])
                cursor.execute("INSERT INTO building VALUES (ST_SetSRID(%s::geometry, 3857))",
                               (shapely.to_wkb(ground, hex=True),))
            cursor.execute("CREATE INDEX ON ortho USING gist (ST_ConvexHull(rast))")
            cursor.execute("CREATE INDEX ON building USING gist (geom)")
            cursor.execute("VACUUM ANALYZE")
        link.close()
        yield dsn


def geoiter(place: Place, dsn: str, threads: int, stack: ExitStack, label: str = LABEL, image: str = IMAGE) -> Batches:
    from detectors.training.geoiter import GeoIter

    pixel = (place.bounds[2] - place.bounds[0]) / place.valid.shape[1]
    iterator = stack.enter_context(GeoIter(dsn, place.bounds, 3857, SIDE, (pixel, pixel), label, image, BATCH, 10**6,
                                           threads=threads))
    for batch in iterator:
        yield batch.data[0].asnumpy(), batch.label[0].asnumpy()


def recordio(directory: Path, threads: int, stack: ExitStack) -> Batches:
    records = stack.enter_context(RecordSet(directory, threads=threads))
    epoch = 0
    while True:
        order = records.order(1, epoch)
        pixels, masks = [], []
        for piece in records.pieces(order):
            pixels.append(piece.pixels)
            masks.append(piece.mask)
            if len(pixels) == BATCH:
                yield batched(pixels), np.stack(masks)
                pixels, masks = [], []
        epoch += 1


def files(directory: Path, threads: int, stack: ExitStack) -> Batches:
    """Images and masks as PNG files, the usual form of a data set, with OpenCV in threads."""
    names = sorted((directory / "images").iterdir())
    random = np.random.default_rng(1)
    pool = stack.enter_context(ThreadPoolExecutor(threads))

    def read(number: int) -> tuple[np.ndarray, np.ndarray]:
        image = cv2.imread(str(names[number]))[..., ::-1]
        return image, cv2.imread(str(directory / "masks" / names[number].name), cv2.IMREAD_GRAYSCALE)

    while True:
        pixels, masks = zip(*pool.map(read, random.integers(len(names), size=BATCH)), strict=True)
        yield batched(pixels), np.stack(masks)


def augmented(directory: Path, threads: int, stack: ExitStack) -> Batches:
    """RecordIO through crops with everything: turned, scaled, outlines rasterised, shadow, blur, noise, JPEG."""
    words = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "-")
    config = TrainingConfig.model_validate({
        "model": {"name": "speed", "gsd_m": 0.1323, "gsd_range_m": [0.1, 0.2]}, "crops": {"size": SIDE},
        "optimiser": {"steps": 1, "batch": BATCH},
        "sources": [{"path": "-", "reader": "records", "use": "train", **words}],
    })
    records = stack.enter_context(RecordSet(directory))
    sampler = stack.enter_context(RecordSampler(config, records, threads=threads))
    number = 0
    while True:
        yield sampler.batch(number)[:2]
        number += 1


def batched(pixels: list[np.ndarray] | tuple[np.ndarray, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def test_images_a_second(place: Place, dsn: str, tmp_path: Path, show: Callable[..., None]) -> None:
    masked = replace(place, mask=place.truth(), outlines=place.outlines[:0], unsure=place.unsure[:0])
    for coding in ("raw", "deflate"):
        pack_places([masked], tmp_path / coding, side=SIDE, coding=coding)
    pack_places([place], tmp_path / "outlines", side=512)
    write_files(masked, tmp_path / "files")
    with ExitStack() as stack:
        ways = {
            "GeoIter with ST_Union, 2 threads": geoiter(place, dsn, 2, stack, UNION_LABEL, UNION_IMAGE),
            **{f"GeoIter, {n} threads": geoiter(place, dsn, n, stack) for n in (1, 2, 4)},
            **{f"PNG files, {n} threads": files(tmp_path / "files", n, stack) for n in (1, 2)},
            **{f"RecordIO {coding}, {n} threads": recordio(tmp_path / coding, n, stack)
               for coding in ("deflate", "raw") for n in (1, 2)},
            "RecordIO raw, all augmentation, 2 threads": augmented(tmp_path / "outlines", 2, stack),
        }
        speeds = measure(ways)
    best = {kind: max(speed for name, speed in speeds.items() if name.startswith(kind) and "augm" not in name)
            for kind in ("GeoIter", "RecordIO", "PNG")}
    rows = [[name, speed, speed / BATCH, speed / best["GeoIter"], speed / best["PNG"]]
            for name, speed in speeds.items()]
    show(f"Images of {SIDE} px a second, batches of {BATCH}",
         ["way", "images/s", "batches/s", "of GeoIter's best", "of the files' best"], rows)
    ratio = best["RecordIO"] / best["GeoIter"]
    print(f"RecordIO / GeoIter: {ratio:.1f}, bar {BAR:g}: {'met' if ratio >= BAR else 'MISSED'}", flush=True)


def measure(ways: dict[str, Batches]) -> dict[str, float]:
    """Images a second of each way: the median of rounds that alternate."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, batches in ways.items():
            for _ in range(3):  # what an iterator reads ahead while others are measured is not counted
                next(batches)
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < ROUND_S:
                pixels, mask = next(batches)
                assert pixels.shape == (BATCH, 3, SIDE, SIDE) and mask.shape == (BATCH, SIDE, SIDE)
                count += BATCH
            found[name].append(count / (time.perf_counter() - started))
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def write_files(place: Place, directory: Path) -> None:
    for kind in ("images", "masks"):
        (directory / kind).mkdir(parents=True)
    for row in range(0, place.valid.shape[0], SIDE):
        for column in range(0, place.valid.shape[1], SIDE):
            window = np.s_[row : row + SIDE, column : column + SIDE]
            cv2.imwrite(str(directory / "images" / f"{row}-{column}.png"), place.pixels[window][..., ::-1])
            cv2.imwrite(str(directory / "masks" / f"{row}-{column}.png"), place.mask[window])
