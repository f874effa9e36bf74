"""Roads: what is on the ground and not on the map, on the map and not on the ground, or beside its place.

The order of judging:

1. What OSM has is sorted by what may be said of it (`road_map`): *judged* roads, and what explains a road that is seen
   without ever being accused: paths and tracks, tunnels and bridges, construction, objects younger than the imagery,
   and the look-alikes: car parks, railways, rivers.
2. The block's common shift between map and imagery is estimated and taken out (`road_placing`).
3. Every judged road is placed: it is seen where it is mapped, it is seen some metres beside (*misplaced*), or nowhere
   (*gone*; not under mapped trees).
4. The probabilities become a network of centrelines (`vectorize.centrelines`). Stretches of it that no mapped line
   explains, by distance and direction (`conflation`), are *missing*; what is done about drives, car parks, field edges
   and other look-alikes is said in `road_missing`.

Claims are made in the map's frame: the common shift is taken out of their geometry again. Where a missing road meets a
known one, its line ends on a node of that way, or on its line.

A road may run through many blocks. Each block claims what of it lies in the block, so that the pieces of neighbours
meet at the border; the daemon's ledger puts pieces that go on in each other together to one discrepancy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import cv2
import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import LineString, Polygon, box
from shapely.geometry.base import BaseGeometry

from detectors.base import EARTH_RADIUS_M, Claim, Frame, OsmFeature, Scene, Shape, frame_around
from detectors.confidence import ROAD_CONFIDENCE, log_length
from detectors.conflation import Lines, along, stretches, unexplained_share
from detectors.road_map import Explained, RoadMap, read_map
from detectors.road_missing import find_missing
from detectors.road_placing import PROFILE_M, PROFILE_STEP_M, MappedRoad, PlacedRoad, common_shift, place_roads
from detectors.road_tags import SELECTION, is_selected, may_be_judged, relevant_tags
from detectors.settings import RoadSettings
from detectors.vectorize.centrelines import trace_centrelines
from detectors.vectorize.raster import Grid

#: Probabilities finer than this are averaged before lines are drawn through them, metres a pixel: a road is several
#: metres wide, and what is smaller is noise.
FINEST_M = 0.8
#: A road is misplaced when its score rises by at least so much at the better place, where so much of it is seen.
MISPLACED_GAIN, MISPLACED_SEEN, MISPLACED_STEADY = 0.15, 0.4, 0.6
#: A road of which more is seen within the reach of `max_shift` is not accused of being gone.
GONE_NEARBY = 0.5
#: A road must lie in the open, not under trees, by such a share and by `min_length`, before its absence says anything.
LEAST_OPEN = 0.35
#: What looks like crowns of trees: greener than this (excess green over all light) and darker than this, 0..1, on the
#: mean of so many metres.
CROWN_GREEN, CROWN_LIGHT, CROWN_M = 0.05, 0.30, 5.0
#: How far to both sides of a mapped road a stripe is looked for, metres.
STRIPE_M = 12
#: A misplaced road must be seen along so much of its better place.
MOST_SEEN = 0.95
#: Ends within so many metres of the rim of what can be seen go on beyond it.
RIM_M = 12.0
#: A missing road is led on to a known one that is so near, metres beyond the known one's edge.
JOIN_M = 16.0
#: A node of a known way within so many metres is joined itself.
NODE_M = 3.0
#: How far around a missing road the map is asked whether it has it, metres.
AROUND_M = 30.0
#: A line that leaves the block for no longer than this stays one piece, and what strays in for no longer is the
#: neighbour's, metres.
STRAY_M = 15.0
#: Half of what a road was misplaced by, in shares: nearer to the right place than this it has arrived.
ARRIVED_SHARE = 0.5
#: A mapped way is still the same where so much of what was claimed lies within so many metres of it.
SAME_SHARE, SAME_M = 0.5, 5.0


class RoadDetector:
    """Compares the roads a network sees with those of OSM (`detectors.base.Detector`)."""

    name = "road"
    key_prefix = "road"
    shapes: frozenset[Shape] = frozenset({"line", "area"})
    selection = SELECTION

    def __init__(self, settings: RoadSettings | None = None):
        self.settings = settings or RoadSettings()

    def selects(self, tags: Mapping[str, str]) -> bool:
        return is_selected(tags)

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return relevant_tags(tags)

    def compare(self, scene: Scene) -> list[Claim]:
        block = _Block.of(scene)
        known = read_map(scene.features, scene.removed, block.frame, lambda day: self._is_older(day, scene),
                         box(*block.bounds))
        standing = [
            replace(road, line=part)
            for road in known.roads if may_be_judged(road.feature.tags) for part in block.visible(road.line)
        ]
        shift = common_shift(standing, block.probability, block.grid)
        moved = known.moved(shift)
        hidden = block.crowns | block.grid.cover(moved.woods)
        visible = [replace(road, line=part) for road in moved.roads for part in block.visible(road.line)]
        placed = place_roads(visible, block.probability, hidden, block.grid, self.settings.max_shift)
        misplaced = [p for p in placed if self._is_misplaced(p)]
        claims = [
            *_surest([
                *(c for p in placed for c in self._gone(p, block, shift)),
                *(c for p in misplaced for c in self._misplaced(p, block, shift)),
            ]),
            *self._missing(known, moved, misplaced, block, shift),
        ]
        sure = [c for c in claims if c.confidence >= self.settings.confidence]
        tree = shapely.STRtree([f.geometry for f in scene.features])
        named = {f.ref: f for f in scene.features}
        around = AROUND_M / (EARTH_RADIUS_M * math.radians(1) * block.frame.scale)
        return [
            c for c in sure
            if self.holds(c, [named[c.osm]] if c.osm else
                          [scene.features[i] for i in np.sort(tree.query(c.geometry, "dwithin", around))])
        ]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        frame = frame_around(claim.geometry)
        line = frame.to_local(claim.geometry)
        if claim.kind == "missing":
            known = read_map(features, [], frame, lambda day: False)
            return _open_share(line, Explained(known)) > 0.5
        about = next((f for f in features if f.ref == claim.osm and may_be_judged(f.tags)), None)
        if claim.kind not in ("gone", "misplaced"):
            raise ValueError(f"road detector knows no claim of kind {claim.kind!r}")
        if about is None:
            return False
        now = frame.to_local(about.geometry)
        if claim.kind == "gone":
            reach = SAME_M
            return 1 - unexplained_share(line, Lines([now], [reach], [0.0]), reach) > SAME_SHARE
        east, north = claim.shift_m or (0.0, 0.0)
        reach = max(ARRIVED_SHARE * math.hypot(east, north), 1.0)
        return unexplained_share(line, Lines([now], [reach], [0.0]), reach) > 0.5

    def _is_older(self, edited: date, scene: Scene) -> bool:
        acquired = scene.chip.acquired
        return self.settings.trust_undated_imagery if acquired is None else edited <= acquired

    def _gone(self, p: PlacedRoad, block: _Block, shift: tuple[float, float]) -> list[Claim]:
        line = p.road.line
        if p.in_open >= self.settings.gone or p.there >= GONE_NEARBY:
            return []
        if p.open_share < LEAST_OPEN or p.open_share * line.length < self.settings.min_length:
            return []
        measures = {"here": p.in_open, "there": p.there, "stripe": block.stripe(line)}
        return [
            block.claim("gone", piece, measures, line.length, shift, feature=p.road.feature, profile=p.profile)
            for piece in block.own(translate(line, -shift[0], -shift[1]))
        ]

    def _is_misplaced(self, p: PlacedRoad) -> bool:
        return (
            p.distance >= self.settings.min_shift and p.gain >= MISPLACED_GAIN and p.there >= MISPLACED_SEEN
            and p.steady >= MISPLACED_STEADY and p.road.line.length >= self.settings.min_length
        )

    def _misplaced(self, p: PlacedRoad, block: _Block, shift: tuple[float, float]) -> list[Claim]:
        target = translate(p.road.line, *p.shift)
        if not block.sees(target):
            return []
        measures = {"here": p.here, "there": p.there, "gain": p.gain, "distance": p.distance, "steady": p.steady}
        return [
            block.claim("misplaced", piece, measures, target.length, shift, feature=p.road.feature, off=p.shift,
                        profile=p.profile)
            for piece in block.own(translate(target, -shift[0], -shift[1]))
        ]

    def _missing(
        self, known: RoadMap, moved: RoadMap, misplaced: Sequence[PlacedRoad], block: _Block,
        shift: tuple[float, float],
    ) -> list[Claim]:
        elsewhere = [(translate(p.road.line, *p.shift), p.road.width) for p in misplaced]
        network = trace_centrelines(block.probability, block.grid)
        ends = _Ends(known.roads, block.frame)
        claims = []
        for stretch in find_missing(network, Explained(moved, elsewhere), block.is_at_rim, self.settings.min_length):
            if stretch.seen < self.settings.missing:
                continue
            on_map, joins = ends.join(translate(stretch.line, -shift[0], -shift[1]), stretch.known_ends)
            measures = {
                "seen": stretch.seen, "width": min(stretch.width, 12.0), "open_ends": stretch.open_ends,
            }
            claims += [
                block.claim("missing", piece, measures, stretch.line.length, shift, joins=joins)
                for piece in block.own(on_map)
            ]
        return claims


@dataclass(frozen=True, slots=True)
class _Block:
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
    def of(cls, scene: Scene) -> _Block:
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
        strays = [part for part in _parts(line.difference(self.owned)) if self._strays(part)]
        merged = shapely.line_merge(shapely.union_all([line.intersection(self.owned), *strays]))
        pieces = [part for part in _parts(merged) if part.equals(line) or not self._strays(part)]
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
        joins: Sequence[_Join] = (),
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
            detector=RoadDetector.name,
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


@dataclass(frozen=True, slots=True)
class _Join:
    """Where an end of a missing road meets a known way.

    Attributes:
        place: local metres, map's frame: the end of the line.
        lonlat: the same place, exactly on the way's own lon/lat line.
        ref: the way.
    """

    place: tuple[float, float]
    lonlat: tuple[float, float]
    ref: str

    def put_on(self, geometry: LineString, piece: LineString) -> tuple[LineString, str | None]:
        """The lon/lat line with its end on the way, if this piece has that end; else as it was."""
        points = shapely.get_coordinates(geometry)
        for at in (0, -1):
            if math.dist(piece.coords[at], self.place) < 1e-6:
                points[at] = self.lonlat
                return LineString(points), self.ref
        return geometry, None


class _Ends:
    """The mapped ways, to let a missing road end on them."""

    def __init__(self, roads: Sequence[MappedRoad], frame: Frame):
        self._roads, self._frame = roads, frame
        widths = [road.width / 2 for road in roads]
        self._lines = Lines([road.line for road in roads], widths, widths)

    def join(self, line: LineString, open_nodes: Sequence[bool]) -> tuple[LineString, list[_Join]]:
        """A line (local metres, map's frame), led on at those ends that meet a known way, and where they do.

        Args:
            open_nodes: for both ends, whether the line may be led on there.
        """
        points = shapely.get_coordinates(line)
        joins = []
        for at, may in ((0, open_nodes[0]), (-1, open_nodes[1])):
            found = self._lines.nearest(points[at], JOIN_M) if may else None
            if found is None:
                continue
            owner, segment, share = found
            road = self._roads[owner]
            start, end = self._lines.on(segment, 0.0), self._lines.on(segment, 1.0)
            place = self._lines.on(segment, share)
            for node in (start, end):
                if math.dist(node, place) <= NODE_M:
                    place = node
            lonlat = _on_way(road.feature.geometry, self._frame, place)
            if math.dist(place, points[at]) > 1e-6:
                beside = [place] if math.dist(place, points[at]) > 1.0 or len(points) == 2 else None
                if beside is None:
                    points = points.copy()
                    points[at] = place
                else:
                    points = np.vstack([place, points]) if at == 0 else np.vstack([points, place])
            joins.append(_Join((float(place[0]), float(place[1])), lonlat, road.feature.ref))
        return LineString(points), joins


def _on_way(way: BaseGeometry, frame: Frame, place: np.ndarray) -> tuple[float, float]:
    """The point of a lon/lat way that is nearest to a place in local metres: between two of its nodes, on the straight
    line between their own coordinates, or exactly one of them."""
    nodes = shapely.get_coordinates(way)
    local = shapely.get_coordinates(frame.to_local(way))
    starts, ways = local[:-1], np.diff(local, axis=0)
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    shares = np.clip(((place - starts) * ways).sum(axis=1) / lengths, 0, 1)
    gaps = np.hypot(*(starts + ways * shares[:, None] - place).T)
    best = int(np.argmin(gaps))
    share = float(shares[best])
    if share * math.sqrt(lengths[best]) < 1e-3:
        lonlat = nodes[best]
    elif (1 - share) * math.sqrt(lengths[best]) < 1e-3:
        lonlat = nodes[best + 1]
    else:
        lonlat = nodes[best] * (1 - share) + nodes[best + 1] * share
    return float(lonlat[0]), float(lonlat[1])


def _with_middle(line: LineString) -> LineString:
    """The same line with a node in its middle: of a line with none between its ends, an end would represent it, and an
    end lies on the border of two blocks."""
    points = shapely.get_coordinates(line)
    at = np.cumsum(np.hypot(*np.diff(points, axis=0).T))
    middle = shapely.get_coordinates(line.interpolate(0.5, normalized=True))
    return LineString(np.insert(points, int(np.searchsorted(at, at[-1] / 2)) + 1, middle, axis=0))


def _parts(geometry: BaseGeometry) -> list[LineString]:
    return [part for part in shapely.get_parts(geometry) if isinstance(part, LineString) and part.length > 0]


def _surest(claims: Sequence[Claim]) -> list[Claim]:
    """Of what may be said of one way, gone or misplaced, the more likely."""
    best: dict[str | None, Claim] = {}
    for claim in claims:
        if claim.osm not in best or claim.confidence > best[claim.osm].confidence:
            best[claim.osm] = claim
    kinds = {osm: claim.kind for osm, claim in best.items()}
    return [claim for claim in claims if claim.kind == kinds[claim.osm]]


def _open_share(line: BaseGeometry, explained: Explained) -> float:
    """Share of a line's length that is not explained."""
    open_length = 0.0
    for part in _parts(line):
        _, points, headings = along(part)
        open_length += part.length * float(np.mean(~explained(points, headings)))
    return open_length / line.length if line.length else 0.0


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
