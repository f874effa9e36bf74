"""Training of models: places -> crops -> network -> bundle.

Importing this package imports neither MXNet nor OpenVINO; calling its functions does.
"""

from __future__ import annotations

from detectors.training.trainer import cross_validate, train

__all__ = ["cross_validate", "train"]
