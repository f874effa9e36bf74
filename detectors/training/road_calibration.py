"""What a road claim's confidence rests upon: networks that are spoilt at random, and how often the detector was right.

    python -m detectors.training.road_calibration BUNDLE --data DIR

prints what was found by kind, the regressions of `detectors.confidence`, and how well they keep their word. Asked are
the places of the bundle's sources with use = "test", which it has not been trained on, but for those that --without
names.
Their masks are thinned and traced: that is the true network. The spoilt maps are drawn from a seed: an eighth of the
edges is left out, a tenth pushed 6 to 16 m to a side, as many as a twelfth are invented, arcs that keep `CLEARANCE_M`
from every road; all others are drawn with an error of 1 m.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import LineString, box

from detectors.base import Claim, Frame, Scene
from detectors.confidence import log_length
from detectors.conflation import Lines, along
from detectors.datasets import read_source
from detectors.road import RoadDetector
from detectors.segmentation import Bundle, open_engine, segment
from detectors.settings import RoadSettings
from detectors.training.calibration import Drawing, Sample, SpoiltMap, print_regressions
from detectors.training.config import TrainingConfig
from detectors.vectorize.network_graph import trace_skeleton
from detectors.vectorize.thinning import thin

#: Shares of the edges that are left out, pushed away and invented.
LEFT_OUT, PUSHED, INVENTED = 0.125, 0.1, 0.08
PUSH_M = (6.0, 16.0)
DRAWING_ERROR_M = 1.0
#: Shorter edges are neither left out nor pushed, metres.
SHORTEST_M = 30.0
#: Invented roads keep this far from real ones, metres.
CLEARANCE_M = 14.0
#: A claimed line is a true one where so much of it runs along one within so many metres.
RIGHT_SHARE, NEAR_M = 0.5, 8.0
MEASURES = {
    "missing": ("seen", "width", "open_ends", "log_length"),
    "gone": ("here", "there", "stripe", "log_length"),
    "misplaced": ("here", "there", "gain", "distance", "steady", "log_length"),
}


@dataclass(slots=True)
class Found:
    """Claims against what was spoilt: metres for missing roads, objects for the others."""

    right: float = 0.0
    wrong: float = 0.0
    overlooked: float = 0.0

    def __str__(self) -> str:
        total = 2 * self.right + self.wrong + self.overlooked
        return (f"F1 {2 * self.right / total if total else math.nan:.3f}: right {self.right:.0f}, wrong "
                f"{self.wrong:.0f}, overlooked {self.overlooked:.0f}")


def true_edges(mask: np.ndarray, frame: Frame) -> list[LineString]:
    """The network of a mask (bool [H, W]) of roads, local metres."""
    graph = trace_skeleton(thin(mask), 1.0)  # in pixels
    return [shapely.transform(line, frame.pixels_to_local) for line in graph.lines]


def spoil_network(edges: Sequence[LineString], frame: Frame, rng: np.random.Generator) -> SpoiltMap:
    """Draw a map of true roads (local metres) with errors in it."""
    drawing = Drawing({"highway": "residential"}, frame)
    for edge in edges:
        fate = rng.random() if edge.length >= SHORTEST_M else 1.0
        if fate < LEFT_OUT:
            drawing.left_out.append(edge)
        elif fate < LEFT_OUT + PUSHED:
            way = np.subtract(edge.coords[-1], edge.coords[0])
            side = np.array([-way[1], way[0]]) / max(math.hypot(*way), 1e-9) * rng.choice((-1, 1))
            drawing.pushed.add(drawing.draw(translate(edge, *(side * rng.uniform(*PUSH_M)))))
        else:
            drawing.draw(translate(edge, *rng.normal(0, DRAWING_ERROR_M, 2)))
    roads = shapely.union_all(list(edges)).buffer(CLEARANCE_M)
    height, width = frame.shape
    ground = box(-width / 2 * frame.gsd, -height / 2 * frame.gsd, width / 2 * frame.gsd, height / 2 * frame.gsd)
    for _ in range(400):
        if len(drawing.invented) >= max(1, INVENTED * len(edges)):
            break
        arc = _arc(rng, ground.bounds)
        if ground.contains(arc) and not roads.intersects(arc):
            drawing.invented.add(drawing.draw(arc))
    return drawing.finish()


def _arc(rng: np.random.Generator, bounds: tuple[float, float, float, float]) -> LineString:
    west, south, east, north = bounds
    length, turn, start = rng.uniform(60, 150), rng.uniform(-1.2, 1.2), rng.uniform(0, 2 * math.pi)
    headings = start + np.linspace(0, turn, 8)
    steps = length / 8 * np.column_stack([np.cos(headings), np.sin(headings)])
    place = rng.uniform(west, east), rng.uniform(south, north)
    return LineString(np.vstack([[0, 0], np.cumsum(steps, axis=0)]) + place)


def judge_claims(
    claims: Sequence[Claim], spoilt: SpoiltMap, frame: Frame, found: dict[str, Found]
) -> list[Sample]:
    """Which claims were right; adds up in `found` what those did that the detector would show."""
    truth = Lines(spoilt.left_out, [NEAR_M] * len(spoilt.left_out), [0.0] * len(spoilt.left_out))
    shown = [c for c in claims if c.confidence >= RoadSettings().confidence]
    samples = []
    for claim in claims:
        if claim.kind == "missing":
            line = frame.to_local(claim.geometry)
            share = float(truth.explains(*along(line)[1:]).mean())
            right = share >= RIGHT_SHARE
            if claim in shown:
                found["missing"].right += share * line.length
                found["missing"].wrong += (1 - share) * line.length
        else:
            right = spoilt.names_an_error(claim)
            if claim in shown:
                found[claim.kind].right += right
                found[claim.kind].wrong += not right
        length = claim.evidence["seen_length_m"]
        samples.append(Sample(claim.kind, {**claim.evidence, "log_length": log_length(length)}, right))
    seen = [frame.to_local(c.geometry) for c in shown if c.kind == "missing"]
    claimed = Lines(seen, [NEAR_M] * len(seen), [0.0] * len(seen))
    for edge in spoilt.left_out:
        found["missing"].overlooked += edge.length * float((~claimed.explains(*along(edge)[1:])).mean())
    for kind, objects in (("gone", spoilt.invented), ("misplaced", spoilt.pushed)):
        found[kind].overlooked += len(objects - {c.osm for c in shown if c.kind == kind})
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a shipped bundle's name, or a bundle's directory")
    parser.add_argument("--data", type=Path, required=True, help="where the data lies that its card names")
    parser.add_argument("--seeds", type=int, default=12, help="spoilt maps a place")
    parser.add_argument("--without", default="", help="leave out places whose name begins so")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    config = TrainingConfig.model_validate(bundle.card.training["config"])
    engine = open_engine(bundle, precision="f32")
    detector = RoadDetector(RoadSettings(confidence=0.0, trust_undated_imagery=True))
    found = {kind: Found() for kind in MEASURES}
    samples: list[Sample] = []
    for source in config.sources:
        if source.use != "test":
            continue
        for place in read_source(arguments.data, source):
            if arguments.without and place.name.startswith(arguments.without):
                continue
            chip = place.chip()
            frame, probabilities = chip.frame, segment(chip, bundle, engine)
            edges = true_edges(place.mask == place.classes.index("road"), frame)
            height, width = frame.shape
            corners = frame.pixels_to_local(np.array([[0, height], [width, 0]], float))
            owned = frame.to_lonlat(box(*corners.ravel())).bounds
            for seed in range(1, arguments.seeds + 1):
                spoilt = spoil_network(edges, frame, np.random.default_rng(seed))
                claims = detector.compare(Scene(chip, probabilities, spoilt.features, [], owned))
                samples += judge_claims(claims, spoilt, frame, found)
    for kind, counted in found.items():
        print(f"# {kind}: {counted}")
    print_regressions(samples, MEASURES)


if __name__ == "__main__":
    main()
