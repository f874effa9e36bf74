"""How good a bundle is, measured on labelled ground."""

from __future__ import annotations

from detectors.evaluation.scoring import evaluate

__all__ = ["evaluate"]
