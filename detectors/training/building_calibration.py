"""What a building claim's confidence rests upon: towns whose map is spoilt at random.

    python -m detectors.training.building_calibration FOLDS --data DIR

prints the regressions of `detectors.confidence`, and how well they keep their word. FOLDS holds the bundles of spatial
folds (fold0, fold1, ...); each is asked only about the ground it has not been trained on. The spoilt maps are drawn
from a seed: a fifth of the buildings is left out, a tenth pushed 3 to 6 m away, as many as a twentieth are invented on
ground that no outline touches, and all others are drawn with an error of 0.3 m.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from shapely.affinity import rotate, translate
from shapely.geometry import Polygon

from detectors.base import Claim, Frame, Scene
from detectors.building import BuildingDetector
from detectors.confidence import log_area
from detectors.datasets import Place, read_source
from detectors.evaluation.scoring import match_resolution
from detectors.segmentation import Bundle, open_engine, segment
from detectors.settings import BuildingSettings
from detectors.training.calibration import Drawing, Sample, SpoiltMap, print_regressions
from detectors.training.config import TrainingConfig
from detectors.vectorize.matching import match_outlines

#: A missing building is found when the claim's outline overlaps it at least so well.
MATCH_IOU = 0.3
#: Shares of the buildings that are left out, pushed away and invented.
LEFT_OUT, PUSHED, INVENTED = 0.2, 0.1, 0.05
PUSH_M = (3.0, 6.0)
DRAWING_ERROR_M = 0.3
#: Invented buildings keep this far from real ones, metres.
CLEARANCE_M = 0.5
#: What each kind's regression looks at; see `detectors.placing.Placed`.
MEASURES = {
    "missing": ("seen", "fit", "log_area"),
    "gone": ("here", "nearby", "log_area"),
    "misplaced": ("here", "there", "gain", "distance", "log_area"),
}


def spoil_map(buildings: Sequence[Polygon], frame: Frame, rng: np.random.Generator) -> SpoiltMap:
    """Draw a map of true outlines (local metres) with errors in it."""
    drawing = Drawing({"building": "yes"}, frame)
    for building in buildings:
        fate = rng.random()
        if fate < LEFT_OUT:
            drawing.left_out.append(building)
        elif fate < LEFT_OUT + PUSHED:
            length, angle = rng.uniform(*PUSH_M), rng.uniform(0, 2 * math.pi)
            drawing.pushed.add(drawing.draw(translate(building, length * math.cos(angle), length * math.sin(angle))))
        else:
            drawing.draw(translate(building, *rng.normal(0, DRAWING_ERROR_M, 2)))
    tree = shapely.STRtree([b.buffer(CLEARANCE_M) for b in buildings])
    west, south, east, north = shapely.total_bounds(list(buildings))
    for _ in range(round(INVENTED * len(buildings)) * 400):
        if len(drawing.invented) >= INVENTED * len(buildings):
            break
        model = buildings[rng.integers(len(buildings))]
        place = (rng.uniform(west, east) - model.centroid.x, rng.uniform(south, north) - model.centroid.y)
        ghost = rotate(translate(model, *place), rng.uniform(0, 360))
        if not len(tree.query(ghost, predicate="intersects")):
            drawing.invented.add(drawing.draw(ghost))
    return drawing.finish()


def judge_claims(claims: Sequence[Claim], spoilt: SpoiltMap, frame: Frame) -> list[Sample]:
    """Which claims were right."""
    claims = [c for c in claims if "iou" not in c.evidence]  # no outline was spoilt in its size
    missing = [c for c in claims if c.kind == "missing"]
    hits = match_outlines([frame.to_local(c.geometry) for c in missing], spoilt.left_out, MATCH_IOU)
    right = {id(missing[i]) for i in hits}
    return [
        Sample(
            claim.kind,
            {**claim.evidence, "log_area": log_area(claim.evidence["area_m2"])},
            id(claim) in right if claim.kind == "missing" else spoilt.names_an_error(claim),
        )
        for claim in claims
    ]


def collect_samples(bundle: Bundle, data: Path, seeds: Sequence[int]) -> list[Sample]:
    """The samples of one fold's held-out ground, once for each seed."""
    config = TrainingConfig.model_validate(bundle.card.training["config"])
    engine = open_engine(bundle, precision="f32")
    detector = BuildingDetector(BuildingSettings(confidence=0.0, trust_undated_imagery=True))
    samples: list[Sample] = []
    for source in config.sources:
        if source.use != "train":
            continue
        (place,) = read_source(data, source)
        mask = place.held_out(bundle.card.training["fold"], config.split.columns)
        place, mask = match_resolution(place, mask, bundle.card.gsd_range_m[0])
        probabilities = segment(place.chip(), bundle, engine)
        frame, owned = place.chip().frame, _lonlat_of(place, mask)
        local = [shapely.transform(b, frame.pixels_to_local) for b in place.outlines]
        unsure = shapely.union_all([shapely.transform(u, frame.pixels_to_local) for u in place.unsure])
        for seed in seeds:
            spoilt = spoil_map(local, frame, np.random.default_rng(seed))
            claims = detector.compare(Scene(place.chip(), probabilities, spoilt.features, [], owned))
            sure = [c for c in claims if not unsure.intersects(frame.to_local(c.geometry).centroid)]
            samples += judge_claims(sure, spoilt, frame)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path, help="directory with fold0, fold1, ...")
    parser.add_argument("--data", type=Path, required=True, help="where the training data lies")
    parser.add_argument("--seeds", type=int, default=6, help="spoilt maps a fold")
    arguments = parser.parse_args()
    samples: list[Sample] = []
    for directory in sorted(p.parent for p in arguments.folds.glob("fold[0-9]*/card.json")):
        samples += collect_samples(Bundle.load(directory), arguments.data, range(1, arguments.seeds + 1))
    print_regressions(samples, MEASURES)


def _lonlat_of(place: Place, mask: np.ndarray) -> tuple[float, float, float, float]:
    """(west, south, east, north) of the columns that `mask` marks."""
    columns = np.flatnonzero(mask.any(axis=0))
    height = mask.shape[0]
    frame = place.chip().frame
    corners = frame.pixels_to_local(np.array([[columns[0], height], [columns[-1] + 1, 0]], float))
    return frame.to_lonlat(shapely.box(*corners[0], *corners[1])).bounds


if __name__ == "__main__":
    main()
