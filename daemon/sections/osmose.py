"""A frontend of Osmose that is sent to: [osmose]."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from daemon.sections.section import Section, knob

#: Days after which a frontend hides a source that it has heard nothing of, a little less than its three months.
HIDDEN_AFTER = 85.0


class Osmose(Section):
    """Discrepancies sent to a frontend of Osmose, as sources of its own (docs/osmose.md). Off until told otherwise."""

    enabled: bool = knob(False, "whether `mapgap run` and `mapgap once` send")
    url: str = knob(
        "", "the frontend, e.g. https://osmose.example.org; /control/send-update lies below it",
        pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$",
    )
    analyser: str = knob("mapgap", "the analyser that the frontend knows the sources by", pattern=r"^[a-z0-9_]+$")
    country: str = knob(
        "", 'what the sources\' "countries" begin with, in a-z and _; "": area.name', pattern=r"^([a-z][a-z_]*)?$"
    )
    code_env: str = knob("", "environment variable that holds the sources' code, the password of their uploads")
    code_file: Path | None = knob(None, "file with mode 0600 that holds the code")
    mode: Literal["snapshot", "change"] = knob(
        "snapshot", "snapshot: always all of a source; change: of what is about an element only what is new or gone"
    )
    region_zoom: int = knob(
        0, "zoom of the tiles that the area is cut into, a source each; 0: one source", "zoom level", ge=0, le=14
    )
    region_most: int = knob(
        5000, "a source with more issues is too slow for the frontend: `mapgap osmose divide`", "issues", ge=10
    )
    divide: Literal["ask", "auto"] = knob(
        "ask", "what happens then; auto: it is divided by itself, which fits a frontend that takes unknown sources"
    )
    interval: float = knob(300.0, "time between two uploads", "seconds", ge=1)
    refresh: float = knob(
        30.0, "a source without news is sent again after this; a frontend hides it after three months", "days", gt=0,
        le=HIDDEN_AFTER,
    )
    timeout: float = knob(
        180.0, "patience with the frontend, which takes seconds for thousands of issues", "seconds", gt=0
    )
    source: str = knob("", "web page of whoever runs this; shown with each class", pattern=r"^(https?://\S+)?$")
    resource: str = knob("", "web page of the imagery or the data; shown with each class", pattern=r"^(https?://\S+)?$")
    dry_run: bool = knob(False, "say what would be sent, send nothing")

    @model_validator(mode="after")
    def _is_whole(self) -> Osmose:
        if self.enabled and not self.url:
            raise ValueError("enabled = true needs osmose.url, the frontend to send to")
        if self.enabled and not (self.dry_run or self.code_env or self.code_file):
            raise ValueError(
                "enabled = true needs the sources' code: name it by osmose.code_env or osmose.code_file, or set "
                "osmose.dry_run = true"
            )
        return self
