"""What is seen of one block: the network's answer and the light on a grid for roads, and which lines it may claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely.geometry import LineString, Polygon, box
from shapely.geometry.base import BaseGeometry

from detectors.base import Claim, Frame, OsmFeature, Scene
from detectors.confidence import ROAD_CONFIDENCE, log_length
from detectors.conflation import along, stretches
from detectors.road_joins import Join
from detectors.road_placing import PROFILE_M, PROFILE_STEP_M
from detectors.vectorize.raster import Grid

#: Probabilities finer than this are averaged before lines are drawn through them, metres a pixel: a road is several
#: metres wide, and what is smaller is noise.
FINEST_M = 0.8
#: What looks like crowns of trees: greener than this (excess green over all light) and darker than this, 0..1, on the
#: mean of so many metres.
CROWN_GREEN, CROWN_LIGHT, CROWN_M = 0.05, 0.30, 5.0
#: How far to both sides of a mapped road a stripe is looked for, metres.
STRIPE_M = 12
#: A misplaced road must be seen along so much of its better place.
MOST_SEEN = 0.95
#: Ends within so many metres of the rim of what can be seen go on beyond it.
RIM_M = 12.0
#: A line that leaves the block for no longer than this stays one piece, and what strays in for no longer is the
#: neighbour's, metres.
STRAY_M = 15.0


@dataclass(frozen=True, slots=True)
class Block:
    """What is seen of a block, on a grid no finer than `FINEST_M`, and what of it is its own."""

    scene: Scene
    frame: Frame
    grid: Grid
    probability: np.ndarray
    valid: np.ndarray
    crowns: np.ndarray
    grey: np.ndarray
    owned: Polygon

    @classmethod
    def of(cls, scene: Scene) -> Block:
        chip = scene.chip
        probability = np.where(chip.valid, scene.probabilities.of("road"), 0)
        valid = chip.valid
        if chip.frame.gsd < FINEST_M:
            height, width = (max(1, round(side * chip.frame.gsd / FINEST_M)) for side in valid.shape)
            probability = cv2.resize(probability, (width, height), interpolation=cv2.INTER_AREA)
            valid = cv2.resize(valid.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
        frame = Frame(chip.bounds, probability.shape)
        grid = Grid.of(frame)
        owned = box(*frame.to_local(box(*scene.owned)).bounds)
        return cls(scene, frame, grid, probability, valid, *_light(chip.pixels, grid), owned)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Of the chip, local metres."""
        height, width = self.grid.shape
        half = (width / 2 * self.grid.gsd, height / 2 * self.grid.gsd)
        return -half[0], -half[1], half[0], half[1]

    def visible(self, line: LineString) -> list[LineString]:
        """The parts of a line under which there is imagery."""
        return stretches(line, self._has_imagery(along(line)[1]), 0.0)

    def sees(self, line: LineString) -> bool:
        """Whether there is imagery under nearly all of a line."""
        return float(self._has_imagery(along(line)[1]).mean()) >= MOST_SEEN

    def is_at_rim(self, point: np.ndarray) -> bool:
        """Whether a point (local metres) is so near to ground without imagery that a road may go on there."""
        reach = np.arange(-RIM_M, RIM_M + 1, RIM_M)
        around = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
        return not self._has_imagery(point + around).all()

    def _has_imagery(self, points: np.ndarray) -> np.ndarray:
        rows, columns = self.grid.to_pixels(points)
        height, width = self.grid.shape
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        seen[seen] = self.valid[rows[seen], columns[seen]]
        return seen

    def stripe(self, line: LineString) -> float:
        """How much the ground along a line (local metres) looks like a stripe in its direction, whatever the network
        says: spread of the mean brightness of lines parallel to it, against the spread of brightness along them.

        A line drawn anywhere crosses light and dark at random, so that all parallels have about the same mean.
        """
        _, points, headings = along(line)
        right = np.column_stack([np.sin(headings), -np.cos(headings)])
        offsets = np.arange(-STRIPE_M, STRIPE_M + 1)
        rows, columns = self.grid.to_pixels((points[None] + offsets[:, None, None] * right[None]).reshape(-1, 2))
        height, width = self.grid.shape
        light = self.grey[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].reshape(len(offsets), -1)
        return float(light.mean(axis=1).std() / max(float(light.std(axis=1).mean()), 1e-3))

    def own(self, line: LineString) -> list[LineString]:
        """The pieces of a line (local metres, map's frame) that are this block's to claim.

        Along a border a line may change sides often: what leaves the block for no longer than `STRAY_M` and comes back
        across the same side, or ends, stays one piece; what strays in like that is the neighbour's.
        """
        strays = [part for part in lines_of(line.difference(self.owned)) if self._strays(part)]
        merged = shapely.line_merge(shapely.union_all([line.intersection(self.owned), *strays]))
        pieces = [part for part in lines_of(merged) if part.equals(line) or not self._strays(part)]
        return [piece for piece in map(_with_middle, pieces) if self._owns(piece)]

    def _strays(self, part: LineString) -> bool:
        sides = [self._side(shapely.Point(part.coords[at])) for at in (0, -1)]
        return part.length <= STRAY_M and (None in sides or sides[0] == sides[1])

    def _side(self, point: shapely.Point) -> int | None:
        """Which side of the block a point lies on, None for none."""
        west, south, east, north = self.owned.bounds
        gaps = [abs(point.x - west), abs(point.x - east), abs(point.y - south), abs(point.y - north)]
        return int(np.argmin(gaps)) if min(gaps) < 1e-6 else None

    def _owns(self, piece: LineString) -> bool:
        west, south, east, north = self.scene.owned
        point = self.frame.to_lonlat(piece).representative_point()
        return west <= point.x < east and south < point.y <= north

    def claim(
        self,
        kind: str,
        piece: LineString,
        measures: Mapping[str, float],
        length: float,
        shift: tuple[float, float],
        *,
        feature: OsmFeature | None = None,
        off: tuple[float, float] | None = None,
        profile: Sequence[float] = (),
        joins: Sequence[Join] = (),
    ) -> Claim:
        """A claim from a piece in the map's frame, local metres.

        Args:
            measures: what the confidence rests upon besides the length; goes into the evidence.
            length: of the whole road as this block sees it, metres.
            shift: the block's.
            off: by which the road lies wrong.
            joins: where it meets known roads.
        """
        chip = self.scene.chip
        confidence = ROAD_CONFIDENCE[kind]({**measures, "log_length": log_length(length)})
        geometry = self.frame.to_lonlat(piece)
        met: list[str] = []
        for join in joins:
            geometry, ref = join.put_on(geometry, piece)
            met += [ref] if ref else []
        return Claim(
            detector="road",
            kind=kind,
            geometry=geometry,
            osm=feature.ref if feature else None,
            confidence=round(confidence, 4),
            shift_m=(round(off[0], 2), round(off[1], 2)) if off else None,
            evidence={
                "length_m": round(piece.length, 1),
                "seen_length_m": round(length, 1),
                **{name: round(value, 3) for name, value in measures.items()},
                **({"joins": sorted(set(met))} if kind == "missing" else {}),
                **({"profile": {"from_m": -PROFILE_M, "step_m": PROFILE_STEP_M, "probability": list(profile)}}
                   if profile else {}),
                "block_shift_m": [round(v, 2) for v in shift],
                "imagery": chip.source,
                "acquired": chip.acquired.isoformat() if chip.acquired else None,
                "model": self.scene.probabilities.model,
                **({"osm_version": feature.version} if feature else {}),
            },
        )


def _with_middle(line: LineString) -> LineString:
    """The same line with a node in its middle: of a line with none between its ends, an end would represent it, and an
    end lies on the border of two blocks."""
    points = shapely.get_coordinates(line)
    at = np.cumsum(np.hypot(*np.diff(points, axis=0).T))
    middle = shapely.get_coordinates(line.interpolate(0.5, normalized=True))
    return LineString(np.insert(points, int(np.searchsorted(at, at[-1] / 2)) + 1, middle, axis=0))


def lines_of(geometry: BaseGeometry) -> list[LineString]:
    return [part for part in shapely.get_parts(geometry) if isinstance(part, LineString) and part.length > 0]



def _light(pixels: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """What looks like crowns of trees (bool [H, W] on the grid), and the mean of all bands (float32 [H, W], 0..1).

    Crowns in leaf are green and dark, in imagery of red, green and blue: the excess green index (Woebbecke et al. 1995)
    over normalised colours, averaged over a few metres. Imagery of fewer bands shows none.
    """
    colours = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    bands = [
        cv2.resize(colours[..., i], grid.shape[::-1], interpolation=cv2.INTER_AREA) for i in range(pixels.shape[2])
    ]
    grey = np.mean(bands, axis=0)
    if len(bands) < 3:
        return np.zeros(grid.shape, bool), grey
    side = 2 * round(CROWN_M / 2 / grid.gsd) + 1
    red, green, blue = (cv2.blur(band, (side, side)) for band in bands[:3])
    light = red + green + blue
    return (2 * green - red - blue > CROWN_GREEN * light) & (light < 3 * CROWN_LIGHT), grey
