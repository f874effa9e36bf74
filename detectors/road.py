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
from dataclasses import replace
from datetime import date

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from detectors.base import EARTH_RADIUS_M, Claim, OsmFeature, Scene, Shape, frame_around
from detectors.conflation import Lines, along, unexplained_share
from detectors.road_block import Block, lines_of
from detectors.road_joins import Ends
from detectors.road_map import Explained, RoadMap, read_map
from detectors.road_missing import find_missing
from detectors.road_placing import PlacedRoad, common_shift, place_roads
from detectors.road_tags import SELECTION, is_selected, may_be_judged, relevant_tags
from detectors.settings import RoadSettings
from detectors.vectorize.centrelines import trace_centrelines

#: A road is misplaced when its score rises by at least so much at the better place, where so much of it is seen.
MISPLACED_GAIN, MISPLACED_SEEN, MISPLACED_STEADY = 0.15, 0.4, 0.6
#: A road of which more is seen within the reach of `max_shift` is not accused of being gone.
GONE_NEARBY = 0.5
#: A road must lie in the open, not under trees, by such a share and by `min_length`, before its absence says anything.
LEAST_OPEN = 0.35
#: What runs over mapped buildings for more of its way is a row of roofs, or the yards between them, and no road; a road
#: that is drawn a little beside its place touches some.
MOST_ROOFED = 1 / 3
#: How far around a missing road the map is asked whether it has it, metres.
AROUND_M = 30.0
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
        block = Block.of(scene)
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
            return _open_share(line, Explained(known)) > 0.5 and known.roofed_share(line) <= MOST_ROOFED
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

    def _gone(self, p: PlacedRoad, block: Block, shift: tuple[float, float]) -> list[Claim]:
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

    def _misplaced(self, p: PlacedRoad, block: Block, shift: tuple[float, float]) -> list[Claim]:
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
        self, known: RoadMap, moved: RoadMap, misplaced: Sequence[PlacedRoad], block: Block,
        shift: tuple[float, float],
    ) -> list[Claim]:
        elsewhere = [(translate(p.road.line, *p.shift), p.road.width) for p in misplaced]
        network = trace_centrelines(block.probability, block.grid)
        ends = Ends(known.roads, block.frame)
        claims = []
        for stretch in find_missing(network, Explained(moved, elsewhere), block.is_at_rim, self.settings.min_length):
            if stretch.seen < self.settings.missing or moved.roofed_share(stretch.line) > MOST_ROOFED:
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
    for part in lines_of(line):
        _, points, headings = along(part)
        open_length += part.length * float(np.mean(~explained(points, headings)))
    return open_length / line.length if line.length else 0.0
