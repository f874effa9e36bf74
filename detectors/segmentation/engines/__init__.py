"""What runs a bundle: one interface, three engines.

    base       Engine: pixels -> probabilities, or -> classes with confidence; which precisions a card allows
    mxnet      the reference; the first GPU that MXNet sees, else the CPU; f32
    onnx       ONNX Runtime: TensorRT, CUDA or CPU, whatever it has, in this order; f32 and int8
    openvino   CPUs: f32, bf16 and int8
    choice     open_engine: the engine asked for, or, "auto", the fastest by a short probe
    probe      how fast each is, measured once and remembered

Importing this package imports none of the three; opening an engine does.
"""

from __future__ import annotations

from detectors.segmentation.engines.base import Engine
from detectors.segmentation.engines.choice import ENGINES, open_engine
from detectors.segmentation.engines.mxnet import MxnetEngine
from detectors.segmentation.engines.onnx import OnnxEngine
from detectors.segmentation.engines.openvino import OpenvinoEngine

__all__ = ["ENGINES", "Engine", "MxnetEngine", "OnnxEngine", "OpenvinoEngine", "open_engine"]
