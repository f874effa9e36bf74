"""What the own API answers: the shapes that its OpenAPI document shows. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from daemon.discrepancies.model import ClosedAs, Event, State
from daemon.reviews import Verdict

KEY = "bld-0123456789abcdef"
GEOMETRY = {
    "type": "Polygon",
    "coordinates": [[[85.52, 27.63], [85.5201, 27.63], [85.5201, 27.6301], [85.52, 27.6301], [85.52, 27.63]]],
}
Key = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{6,60}$", examples=[KEY])]
Time = Annotated[str, Field(examples=["2026-11-22T05:08:49Z"])]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Refusal(Shape):
    """Why something is not given."""

    detail: str = Field(examples=["no discrepancy has the key 'bld-0123456789abcdef'"])


class Summary(Shape):
    """A discrepancy as lists hold it."""

    key: Key
    detector: str = Field(examples=["building"])
    kind: str = Field(examples=["missing"])
    title: str | None = Field(description="What people are told of such a thing, in English.")
    state: State
    closed_as: ClosedAs | None
    confidence: float = Field(ge=0, le=1, examples=[0.93])
    osm: str | None = Field(description="The OSM object that it is about.", examples=["way/123"])
    shift_m: tuple[float, float] | None = Field(description="Metres east and north from the mapped to the right place.")
    lon: float
    lat: float
    geometry: dict[str, Any] = Field(description="GeoJSON, lon/lat.", examples=[GEOMETRY])
    opened: Time
    updated: Time = Field(description="Last change that a reader can see.")
    closed: Time | None
    hidden_until: Time | None = Field(description="A person says that it is fixed: until then the map is waited for.")


class Page(Shape):
    """Some discrepancies, in the order of their keys."""

    discrepancies: list[Summary]
    next: str | None = Field(description="`after` of the next page; null where there is none.", examples=[KEY])
    attribution: list[str] = Field(examples=[["© OpenStreetMap contributors, ODbL 1.0"]])


class HappeningModel(Shape):
    """One line of a discrepancy's life."""

    at: Time
    event: Event
    state: State
    closed_as: ClosedAs | None
    sequence: int | None = Field(description="Of the change file that caused it.")
    detail: dict[str, Any]


class ReviewModel(Shape):
    """What a person said."""

    verdict: Verdict
    reason: str | None
    who: str | None
    at: Time
    came_by: str = Field(examples=["osmose"])


class Whole(Summary):
    """A discrepancy with all that is known of it."""

    evidence: dict[str, Any] = Field(description="The facts behind the claim.")
    last_seen: Time
    times_seen: int
    closed_sequence: int | None = Field(description="Of the change file that fixed it.")
    detail: str | None = Field(description="What people are told of such a thing at length, in English; Markdown.")
    history: list[HappeningModel]
    reviews: list[ReviewModel]
    picture: str = Field(description="Where its picture is.")


class NewReview(BaseModel):
    """A verdict to be kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={
        "examples": [{"verdict": "false_positive", "reason": "an awning", "who": "mapper1"}],
    })

    verdict: Verdict
    reason: Annotated[str, StringConstraints(max_length=2000)] | None = None
    who: Annotated[str, StringConstraints(max_length=255)] | None = None


class Reviewed(Shape):
    """What a verdict led to."""

    key: Key
    verdict: Verdict
    state: State
    closed_as: ClosedAs | None
    recorded: bool = Field(description="False: the same was told before.")


class CellProperties(Shape):
    """What is known of one cell of the grid."""

    cell: str = Field(description="z/x/y", examples=["13/6042/3441"])
    tiles: int = Field(description="Tiles of the configured zoom that the cell has.", examples=[4096])
    looked: int = Field(description="Tiles that were looked at.")
    judged: int = Field(description="Those with imagery.")
    no_imagery: int
    last_looked: Time | None
    discrepancies: dict[State, int] = Field(examples=[{"open": 3, "published": 2, "closed": 1}])


class Cell(Shape):
    """One cell as a GeoJSON Feature."""

    type: Literal["Feature"]
    id: str
    geometry: dict[str, Any] = Field(examples=[GEOMETRY])
    properties: CellProperties


class Coverage(Shape):
    """Cells of which anything is known, as a GeoJSON FeatureCollection."""

    type: Literal["FeatureCollection"]
    zoom: int = Field(description="Of the cells.")
    tile_zoom: int = Field(description="Of the tiles that are counted.")
    features: list[Cell]


class StatusModel(Shape):
    """As `mapgap status --json` tells it; what names machines, paths or URLs is told only with the token."""

    verdict: Literal["fresh", "behind", "broken", "too_far_behind"]
    reason: str
    sequence: int | None
    timestamp: Time | None
    lag_seconds: float | None
    source: str | None
    behind_seconds: float | None
    files_behind: int | None
    last_success: Time | None
    server: dict[str, Any] | None
    server_asked: Time | None
    waits: str
    running: bool
    heartbeat: dict[str, Any] | None
    tiles: dict[str, int]
    dead: list[dict[str, Any]]
    discrepancies: dict[str, dict[str, dict[str, int]]]
    last_error: dict[str, Any] | None
    errors: dict[str, dict[str, Any]]
    models: dict[str, str]
    maproulette: dict[str, Any] | None
