"""Trained networks and what runs them: bundles, engines, and the segmentation of chips.

Importing this package imports none of MXNet, ONNX Runtime and OpenVINO; opening an engine does.
"""

from __future__ import annotations

from detectors.segmentation.bundle import Bundle, Card
from detectors.segmentation.engines import Engine, MxnetEngine, OnnxEngine, OpenvinoEngine, open_engine
from detectors.segmentation.stitching import segment

__all__ = ["Bundle", "Card", "Engine", "MxnetEngine", "OnnxEngine", "OpenvinoEngine", "open_engine", "segment"]
