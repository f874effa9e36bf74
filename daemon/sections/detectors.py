"""What looks at the ground: [detectors], and in it a table for each detector that is installed."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, create_model, model_validator

from daemon.sections.section import Section, knob
from detectors.registry import Plugin, registry


class DetectorSection(Section):
    """What every detector's table has; its own knobs are added from its settings (`detectors.settings`)."""

    enabled: bool = knob(False, "whether it runs")

    @property
    def knobs(self) -> dict[str, Any]:
        """The detector's own, without what is the daemon's to heed."""
        return self.model_dump(exclude={"enabled", "model", "bands"})


def _section_of(plugin: Plugin) -> type[DetectorSection]:
    hints = get_type_hints(plugin.settings)
    knobs: dict[str, Any] = {"enabled": (bool, knob(plugin.enabled, "whether it runs"))}
    if plugin.model is not None:
        knobs["model"] = (str, knob(plugin.model, "a shipped bundle's name, or the directory of one"))
        knobs["bands"] = (list[Annotated[int, Field(ge=1, le=64)]], knob(
            [], "which of the imagery's bands the model takes, in its order, counted from 1; empty: all of them",
            max_length=256,
        ))
    for field in dataclasses.fields(plugin.settings):
        if told := field.metadata:
            knobs[field.name] = (hints[field.name], knob(field.default, told["doc"], told["unit"], **told["limits"]))
    name, doc = plugin.name.capitalize(), plugin.settings.__doc__
    return create_model(name, __base__=DetectorSection, __doc__=doc, __module__=__name__, **knobs)


class _Looking(Section):
    engine: Literal["auto", "openvino", "onnx", "mxnet"] = knob(
        "auto", "what runs the network; auto: the fastest here by a probe of two seconds, kept in data_dir"
    )
    threads: int = knob(0, "threads of the network; 0: as many as this process may use", "threads", ge=0)
    augment: bool = knob(False, "look at everything eight times, turned and mirrored: a little surer, 8 times as slow")
    unknown_date: Literal["trust_osm", "trust_imagery"] = knob(
        "trust_osm", "imagery without a date: make no claim against what is mapped (trust_osm), or claim all the same"
    )

    @model_validator(mode="before")
    @classmethod
    def _plugins_are_whole(cls, values: Any) -> Any:
        for name, reason in registry().broken.items():
            if isinstance(values, dict) and name in values and name not in registry().plugins:
                raise ValueError(f"{name}: its plug-in cannot be used: {reason}")
        return values

    @property
    def running(self) -> dict[str, DetectorSection]:
        """The tables of the detectors that run, by name."""
        tables = {name: getattr(self, name) for name in registry().plugins}
        return {name: table for name, table in tables.items() if table.enabled}


def _detectors() -> type[_Looking]:
    sections = {name: _section_of(plugin) for name, plugin in registry().plugins.items()}
    tables: dict[str, Any] = {name: (section, Field(default_factory=section)) for name, section in sections.items()}
    doc = "What looks at the ground."
    return create_model("Detectors", __base__=_Looking, __doc__=doc, __module__=__name__, **tables)


Detectors = _detectors()
