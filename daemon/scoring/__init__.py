"""Found against known: precision, recall and F1 of discrepancies where the truth is given."""

from daemon.scoring.buildings import BuildingTruth
from daemon.scoring.roads import RoadTruth
from daemon.scoring.truth import KINDS, Counts, Found, Truth, TruthInvalid

__all__ = ["KINDS", "BuildingTruth", "Counts", "Found", "RoadTruth", "Truth", "TruthInvalid"]
