"""Where a model and the labels disagree most: samples for a person to look at, most doubtful first.

Either may be wrong. A model trained on labels with errors in them still gives those samples the highest loss, since
errors are rarer than what it learned from (Northcutt et al., arXiv:1911.00068); so this list is where to look first.
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import cv2
import numpy as np
import shapely
from shapely.geometry import mapping

from detectors.base import Frame
from detectors.datasets import UNKNOWN, Place
from detectors.evaluation.legend import Legend
from detectors.evaluation.resolution import match_resolution
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import Engine
from detectors.segmentation.stitching import segment

#: Probabilities below this count as this: one pixel's loss is at most 6.9.
LEAST = 1e-3
#: Share of a sample that somebody must know for it to be listed: a few pixels at an edge say little.
LEAST_KNOWN = 0.1
#: Colours of classes beside the background on the contact sheet, RGB, taken in turn.
PALETTE = ((230, 60, 60), (60, 130, 230), (60, 190, 90), (230, 180, 40), (170, 80, 200), (40, 190, 190), (240, 130, 60))
THUMB, GUTTER, CAPTION = 192, 6, 18


@dataclass(frozen=True, slots=True)
class Doubt:
    """A sample on which model and labels disagree.

    Attributes:
        place: name of its place.
        column, row, side: upper left corner and side in pixels of the place as the data set has it.
        loss: mean cross-entropy over its known pixels, natural logarithm.
        known: share of its pixels that have a label.
        labelled, predicted: what covers most of its known pixels where the two disagree most: name of the class.
        outline: lon/lat polygon of the sample; None where the place does not say where on earth it lies.
        views: imagery, labels and answer side by side, uint8 RGB [THUMB, 3 * THUMB, 3].
    """

    place: str
    column: int
    row: int
    side: int
    loss: float
    known: float
    labelled: str
    predicted: str
    outline: shapely.Polygon | None
    views: np.ndarray = field(repr=False, compare=False)


def find_doubts(
    bundle: Bundle, engine: Engine, places: Iterable[Place], *, side: int = 256, most: int = 50,
    each: Callable[[int], None] | None = None,
) -> list[Doubt]:
    """The samples of highest loss, highest first.

    Places finer than the model takes are area-averaged first, as in scoring.

    Args:
        places: gone through once, one in memory at a time.
        side: of a sample, pixels of the place.
        most: how many are kept.
        each: told how many places are done.

    Raises:
        BundleMismatch: imagery that the model was not made for.
        DatasetInvalid: model and labels share no class.
    """
    legend = Legend.of(bundle)
    kept: list[tuple[float, int, Doubt]] = []
    order = count()
    for number, place in enumerate(places, 1):
        for doubt in _doubts_of(bundle, engine, place, legend, side, lambda: kept[0][0] if len(kept) >= most else -1.0):
            heapq.heappush(kept, (doubt.loss, -next(order), doubt))
            if len(kept) > most:
                heapq.heappop(kept)
        if each:
            each(number)
    return [doubt for *_, doubt in sorted(kept, key=lambda entry: (-entry[0], -entry[1]))]


def loss_of(planes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cross-entropy of each pixel, float32 [H, W]: -ln of the probability [K, H, W] of its class; NaN where UNKNOWN."""
    known = truth != UNKNOWN
    said = np.take_along_axis(planes, np.where(known, truth, 0)[None].astype(np.int64), axis=0)[0]
    total = np.maximum(planes.sum(axis=0), LEAST)
    return np.where(known, -np.log(np.clip(said / total, LEAST, 1)), np.nan).astype(np.float32)


def _doubts_of(bundle: Bundle, engine: Engine, place: Place, legend: Legend, side: int, threshold: Callable[[], float]
               ) -> Iterator[Doubt]:
    """The samples of a place with a loss above `threshold()`, row by row."""
    full = place.valid.shape
    place, _ = match_resolution(place, place.valid, bundle.card.gsd_range_m[0])
    factor = full[1] // place.valid.shape[1]
    step = max(1, side // factor)
    truth = legend.truth_of(place)
    planes = legend.planes_of(bundle, segment(place.chip(), bundle, engine).values)
    losses, labels = loss_of(planes, truth), legend.labels_of(planes)
    height, width = truth.shape
    for top in range(0, height, step):
        for left in range(0, width, step):
            window = np.s_[top : top + step, left : left + step]
            known = ~np.isnan(losses[window])
            if known.mean() < LEAST_KNOWN:
                continue
            loss = float(losses[window][known].mean())
            if loss <= threshold():
                continue
            labelled, predicted = _confused(truth[window], labels[window], known)
            yield Doubt(
                place.name, left * factor, top * factor, step * factor, loss, float(known.mean()),
                legend.classes[labelled], legend.classes[predicted],
                _outline(place, left, top, min(left + step, width), min(top + step, height)),
                _views(place.pixels[window], truth[window], labels[window], legend.background),
            )


def _confused(truth: np.ndarray, labels: np.ndarray, known: np.ndarray) -> tuple[int, int]:
    """(labelled, predicted) of the most pixels on which the two differ; of all pixels where they never do."""
    differ = known & (truth != labels)
    where = differ if differ.any() else known
    pairs, counts = np.unique(np.stack([truth[where], labels[where]]), axis=1, return_counts=True)
    labelled, predicted = pairs[:, counts.argmax()]
    return int(labelled), int(predicted)


def _outline(place: Place, left: int, top: int, right: int, bottom: int) -> shapely.Polygon | None:
    """Places in other coordinate systems than web mercator have a box that begins at 0, 0."""
    if place.bounds[:2] == (0.0, 0.0):
        return None
    frame = Frame(place.bounds, place.valid.shape)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=float)
    return frame.to_lonlat(shapely.Polygon(frame.pixels_to_local(corners)))


def _views(pixels: np.ndarray, truth: np.ndarray, labels: np.ndarray, background: int) -> np.ndarray:
    picture = _as_rgb(pixels)
    views = [picture, _tint(picture, truth, background), _tint(picture, labels, background)]
    return np.hstack([cv2.resize(view, (THUMB, THUMB), interpolation=cv2.INTER_AREA) for view in views])


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Something to look at, uint8 [H, W, 3]: of many bands the first three, 16 bits stretched."""
    bands = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    low, high = np.percentile(bands, (2, 98))
    return (np.clip((bands - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)


def _tint(picture: np.ndarray, mask: np.ndarray, background: int) -> np.ndarray:
    tinted = picture.copy()
    for index in np.unique(mask):
        if index == UNKNOWN:
            tinted[mask == UNKNOWN] //= 3
        elif index != background:
            colour = np.array(PALETTE[(int(index) - 1) % len(PALETTE)])
            tinted[mask == index] = (tinted[mask == index] * 0.55 + colour * 0.45).astype(np.uint8)
    return tinted


def to_csv(doubts: Sequence[Doubt]) -> str:
    """One line a sample, most doubtful first."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "place", "column", "row", "side", "loss", "known", "labelled", "predicted"])
    for rank, d in enumerate(doubts, 1):
        share, loss = round(d.known, 4), round(d.loss, 4)
        rows.writerow([rank, d.place, d.column, d.row, d.side, loss, share, d.labelled, d.predicted])
    return text.getvalue()


def to_geojson(doubts: Sequence[Doubt]) -> str:
    """The same as a FeatureCollection; samples of places that lie nowhere on earth have no geometry."""
    features = [
        {
            "type": "Feature", "geometry": mapping(d.outline) if d.outline else None,
            "properties": {
                "rank": rank, "place": d.place, "column": d.column, "row": d.row, "side": d.side,
                "loss": round(d.loss, 4), "known": round(d.known, 4), "labelled": d.labelled, "predicted": d.predicted,
            },
        }
        for rank, d in enumerate(doubts, 1)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False)


def draw_sheet(doubts: Sequence[Doubt], columns: int = 2) -> np.ndarray:
    """A contact sheet, uint8 RGB: of each sample imagery, labels and answer, with rank, loss and place below."""
    rows = max(1, math.ceil(len(doubts) / columns))
    wide, high = 3 * THUMB + GUTTER, THUMB + CAPTION + GUTTER
    sheet = np.full((rows * high + GUTTER, columns * wide + GUTTER, 3), 255, np.uint8)
    for index, doubt in enumerate(doubts):
        top, left = GUTTER + index // columns * high, GUTTER + index % columns * wide
        sheet[top : top + THUMB, left : left + 3 * THUMB] = doubt.views
        said = (f"{index + 1}  loss {doubt.loss:.2f}  {doubt.place} {doubt.column},{doubt.row}  "
                f"labelled {doubt.labelled}, seen {doubt.predicted}")
        cv2.putText(sheet, said.encode("ascii", "replace").decode()[:88], (left, top + THUMB + 13),
                    cv2.FONT_HERSHEY_SIMPLEX, 0.38, (20, 20, 20), 1, cv2.LINE_AA)
    return sheet
