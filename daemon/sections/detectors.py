"""What looks at the ground: [detectors] and a table for each detector there is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from daemon.sections.section import Section, knob


class Building(Section):
    """The detector of buildings."""

    enabled: bool = knob(True, "whether it runs")
    model: str = knob("building", "a shipped bundle's name, or the directory of one")
    min_area: float = knob(16.0, "smaller buildings are neither claimed missing nor gone", "square metres", gt=0)
    missing: float = knob(
        0.50, "mean probability that a footprint must reach to be claimed missing", "probability", gt=0, lt=1
    )
    gone: float = knob(
        0.25, "mean probability under a mapped building below which it is claimed gone", "probability", gt=0, lt=1
    )
    min_shift: float = knob(2.0, "smaller shifts are not claimed misplaced", "metres", gt=0)
    max_shift: float = knob(6.5, "larger shifts are not looked for", "metres", gt=0)
    confidence: float = knob(0.35, "claims with less confidence are dropped", "probability", ge=0, le=1)


class Detectors(Section):
    """What looks at the ground."""

    engine: Literal["auto", "openvino", "onnx", "mxnet"] = knob(
        "auto", "what runs the network; auto: the fastest here by a probe of two seconds, kept in data_dir"
    )
    threads: int = knob(0, "threads of the network; 0: as many as this process may use", "threads", ge=0)
    augment: bool = knob(False, "look at everything eight times, turned and mirrored: a little surer, 8 times as slow")
    unknown_date: Literal["trust_osm", "trust_imagery"] = knob(
        "trust_osm", "imagery without a date: make no claim against what is mapped (trust_osm), or claim all the same"
    )
    building: Building = Field(default_factory=Building)
