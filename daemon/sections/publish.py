"""What leaves the house, and what comes back: [publish], [maproulette], [reviews]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from daemon.sections.section import Section, knob


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not host or parts.query or parts.username:
        raise ValueError("expected the base of an API, e.g. https://maproulette.org/api/v2")
    if parts.scheme == "http" and host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("expected https://, as the API key would travel in the clear")
    return url.rstrip("/")


class Publish(Section):
    """What leaves the house. Files are written after every cycle; nothing is sent anywhere."""

    dir: Path | None = knob(
        None, "directory for discrepancies.geojson, maproulette.geojsonl and osmose.xml; none: not written"
    )
    dry_run: bool = knob(False, "say what would be written, write nothing")
    min_confidence: float = knob(0.5, "discrepancies below this stay in the house", "probability", ge=0, le=1)
    stale_days: float = knob(365.0, "an open discrepancy not seen for so long closes as stale", "days", gt=0)


class MapRoulette(Section):
    """Discrepancies as MapRoulette's tasks. Off until enabled; then dry_run shows what would be sent."""

    # The server.
    enabled: bool = knob(False, "publish to MapRoulette and listen to what its mappers say")
    dry_run: bool = knob(False, "write to the log what would be sent, send nothing that changes anything")
    url: Annotated[str, AfterValidator(_check_url)] = knob(
        "https://staging.maproulette.org/api/v2", "base of the API; for real: https://maproulette.org/api/v2"
    )
    api_key_env: str = knob("", "environment variable that holds the API key, <number>|<letters>, of a user's profile")
    api_key_file: Path | None = knob(None, "file with mode 0600 that holds the API key")
    project: str = knob(
        "", "name of the project that holds the challenges, unique on the whole server; made if there is none",
        pattern=r"^[A-Za-z0-9_ .-]*$", max_length=100,
    )
    interval: float = knob(60.0, "time between two rounds of telling and listening", "seconds", ge=1)
    rate: float = knob(4.0, "requests a second at most", "requests per second", gt=0, le=100)
    timeout: float = knob(60.0, "patience with the server, for connecting and between two bytes", "seconds", gt=0)
    upload_timeout: float = knob(600.0, "patience with its answer to an upload of many tasks", "seconds", gt=0)
    retries: int = knob(
        4, "further tries after a failure that may pass, of what may be done twice", "tries", ge=0, le=20
    )
    # Challenges and their tasks.
    hashtags: str = knob("#mapgap", "go into the comments of changesets, after #maproulette")
    info_link: str = knob("", "web page about what is done here; shown with every challenge")
    difficulty: Literal[1, 2, 3] = knob(2, "as mappers are told: 1 easy, 2 normal, 3 expert")
    basemap: str = knob(
        "auto",
        "tiles that mappers are shown: auto (the imagery of most claims, where anybody may load it), none, "
        "or a template https://.../{z}/{x}/{y}...",
        pattern=r"^(auto|none|https?://\S*\{z\}\S*)$",
    )
    change_files: float = knob(
        0.9,
        "missing buildings at least so sure (of ten at 0.9, nine are right) come drawn already, as a change file for "
        "JOSM; 1: none do",
        "probability", ge=0, le=1,
    )
    move_nodes: bool = knob(
        False,
        "misplaced buildings come moved already, too; the store knows no tags of nodes (entrances), so that a mapper "
        "has to keep them",
    )
    bulk: int = knob(100, "so many new tasks of a challenge are uploaded as a file, fewer one by one", "tasks", ge=1)
    upload_size: int = knob(
        10_000_000, "an upload is cut into pieces of this size; the server takes 15 360 000", "bytes",
        ge=100_000, le=14_000_000,
    )
    tasks_most: int = knob(
        40_000, "a challenge with so many tasks is followed by another; the server takes 50 000", "tasks", ge=1,
        le=49_000,
    )

    # What people can bear.
    open_per_area: int = knob(
        2_000, "tasks that wait in an area (a tile of zoom 12, a town) at most; then no new ones come", "tasks", ge=0
    )
    new_per_day: int = knob(2_000, "new tasks within 24 hours at most", "tasks a day", ge=0)
    gate_share: float = knob(
        0.4, "a challenge pauses itself when more of its decided tasks than this were not an issue", "share", ge=0, le=1
    )
    gate_verdicts: int = knob(20, "but not before so many were decided: fixed, or not an issue", "verdicts", ge=1)

    @model_validator(mode="after")
    def _is_complete(self) -> MapRoulette:
        if self.enabled and not self.project:
            raise ValueError("enabled = true needs maproulette.project, the name of the project to publish into")
        if self.enabled and not (self.api_key_env or self.api_key_file):
            raise ValueError("enabled = true needs maproulette.api_key_env or maproulette.api_key_file")
        return self


class Reviews(Section):
    """What people's verdicts do. A false positive is silent for ever."""

    believe_fixed: float = knob(
        7.0, "what a mapper calls fixed is shown to nobody for so long; the map has to show it by then", "days", gt=0
    )
    half_life: float = knob(180.0, "a verdict counts half after so long, when it is learned what to show", "days", gt=0)
