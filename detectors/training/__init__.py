"""Training and scoring of models: places -> crops -> network -> bundle -> metrics.

Importing this package imports neither MXNet nor OpenVINO; calling its functions does.
"""

from __future__ import annotations

from detectors.training.evaluation import evaluate
from detectors.training.trainer import cross_validate, train

__all__ = ["cross_validate", "evaluate", "train"]
