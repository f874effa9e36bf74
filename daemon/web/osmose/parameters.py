"""The query parameters of Osmose's API 0.3, as its clients write them, and what is understood by them.

Read as the Osmose server reads them: what means nothing within `item` is passed over, an unknown `status` is a 422.
What makes that server fail (boxes that are none, numbers beyond all bounds) is a 422 as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from daemon.web.osmose.fixes import is_fixable
from daemon.web.osmose.languages import languages_of
from daemon.web.osmose.places import LAST_PLACE, WORLD, Bbox
from detectors.catalogue import Kind

Status = Literal["open", "done", "false"]
Kinds = Mapping[tuple[str, str], Kind]

#: Issues in a list, and in a tile, where nobody says how many.
LIMIT = 100
#: Issues that `offset` may pass over; further on leads `after`, which costs nothing.
MOST_OFFSET = 100_000
#: The one source that this server has: itself.
SOURCE = 1
_INT8 = 2**63 - 1
_ITEM_FAMILY = re.compile(r"([0-9])xxx", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?", re.ASCII)
_AFTER = re.compile(r"([0-9]{1,19})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class After:
    """The issue after which a page begins."""

    place: int
    uuid: str

    def __str__(self) -> str:
        return f"{self.place}-{self.uuid}"


#: Before all issues.
BEGINNING = After(-1, "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for.

    Attributes:
        boxes: lon/lat (west, south, east, north); two where the box crosses the antimeridian.
        kinds: (detector, kind) of what passes all filters; where there is none, no issue does.
        start, end: of the moment of a verdict, `end` not included; None: whenever.
        osm: "way/123" that the issues are about; None: whatever.
        limit: issues at most; 0: as many as the server gives.
        full: all that is known of each issue.
        count: say how many there are beyond the limit.
    """

    boxes: tuple[Bbox, ...] = (WORLD,)
    kinds: tuple[tuple[str, str], ...] = ()
    status: Status = "open"
    start: datetime | None = None
    end: datetime | None = None
    osm: str | None = None
    limit: int = LIMIT
    offset: int = 0
    after: After = BEGINNING
    full: bool = False
    count: bool = False
    languages: tuple[str, ...] = ()


class Asked(BaseModel):
    """The parameters as they came."""

    bbox: str | None = Field(None, description="lon1,lat1,lon2,lat2; antimeridian where lon1 > lon2")
    item: str | None = Field(None, description="8540,8541; 8xxx; xxxx: all")
    classs: str | None = Field(None, alias="class", description="1,2")
    source: str | None = Field(None, description="1; 1-2: class 2 of source 1")
    level: str | None = Field(None, description="1,2,3")
    tags: str | None = Field(None, description="building,geom: any of these")
    country: str | None = Field(None, description="as /countries says; ends in *: begins so")
    username: str | None = Field(None, description="of who edited last; mapgap keeps no names")
    status: Status = Field("open", description="false, done: what people said so of")
    start_date: str | None = Field(None, description="Y[-m[-d]]; of done and false")
    end_date: str | None = Field(None, description="Y[-m[-d]]; of done and false")
    fixable: Literal["online", "josm", ""] | None = Field(None, description="josm: with a drawn object")
    osm_type: Literal["node", "way", "relation", ""] | None = None
    osm_id: int | None = Field(None, ge=0, le=_INT8)
    use_dev_item: Literal["false", "true", "all", ""] = Field(
        "false", alias="useDevItem", description="true: nothing here"
    )
    limit: int = Field(LIMIT, ge=0, le=_INT8, description="0: as many as the server gives")
    offset: int = Field(0, ge=0, le=MOST_OFFSET, description="issues to pass over")
    after: str | None = Field(None, description="from the Link to the next page")
    full: bool = Field(False, description="all that is known of each issue")
    count: bool = Field(False, description="X-Total-Count says how many there are")
    langs: str | None = Field(None, description="en,fr; before Accept-Language")

    def read(self, kinds: Kinds, country: str, accept_language: str | None) -> Wanted:
        """What is meant.

        Args:
            kinds: all that there are.
            country: the one that this server looks after.

        Raises:
            RequestValidationError: a value that has no meaning; answered as 422.
        """
        past = self.status != "open"
        return Wanted(
            boxes=boxes_of(self.bbox) if self.bbox else (WORLD,),
            kinds=self._kinds(kinds, country),
            status=self.status,
            start=_day("start_date", self.start_date) if past else None,
            end=_day("end_date", self.end_date) if past else None,
            osm=f"{self.osm_type}/{self.osm_id}" if self.osm_type and self.osm_id is not None else None,
            limit=self.limit, offset=self.offset, after=_after(self.after), full=self.full, count=self.count,
            languages=languages_of(self.langs, accept_language),
        )

    def _kinds(self, kinds: Kinds, country: str) -> tuple[tuple[str, str], ...]:
        if self.username or self.use_dev_item == "true" or not _is_country(self.country, country):
            return ()
        tests: list[Callable[[Kind], bool]] = [_item_test(self.item)]
        if self.classs:
            numbers = _numbers("class", self.classs)
            tests.append(lambda kind: kind.number in numbers)
        if self.source:
            tests.append(_source_test(self.source))
        if self.level:
            levels = _numbers("level", self.level)
            tests.append(lambda kind: kind.level in levels)
        if self.tags:
            topics = set(self.tags.split(","))
            tests.append(lambda kind: not topics.isdisjoint(kind.topics))
        passing = [pair for pair, kind in kinds.items() if all(test(kind) for test in tests)]
        if self.fixable:
            passing = [pair for pair in passing if self.fixable == "josm" and is_fixable(*pair)]
        return tuple(passing)


def asked_of(query: Mapping[str, str]) -> Asked:
    """The parameters of a request, all at once: FastAPI would take fifty times as long, one after the other.

    Raises:
        RequestValidationError: a value of another type; answered as 422.
    """
    try:
        return Asked.model_validate(dict(query))
    except ValidationError as error:
        problems = [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems) from None


#: The same for the OpenAPI description of a route.
DESCRIBED: Mapping[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in Asked.model_json_schema()["properties"].items()
    ],
    "responses": {"422": {"description": "A value that has no meaning", "content": {"application/json": {
        "schema": {"$ref": "#/components/schemas/HTTPValidationError"},
    }}}},
}


def boxes_of(bbox: str) -> tuple[Bbox, ...]:
    """The box or, across the antimeridian, the two boxes of "lon1,lat1,lon2,lat2".

    Longitudes may go on beyond 180 degrees, as those of slippy maps do; latitudes may come in either order.

    Raises:
        RequestValidationError: not four finite numbers.
    """
    try:
        west, south, east, north = (float(part) for part in bbox.split(",", 4))
    except ValueError:
        raise invalid("bbox", "expected lon1,lat1,lon2,lat2") from None
    if not all(map(math.isfinite, (west, south, east, north))):
        raise invalid("bbox", "expected finite numbers")
    south, north = (max(-90.0, min(90.0, lat)) for lat in sorted((south, north)))
    if east - west >= 360:
        return ((-180.0, south, 180.0, north),)
    if not -180 <= west <= 180:
        west, east = _wrapped(west), east - (west - _wrapped(west))
    if not -180 <= east <= 180:
        east = _wrapped(east)
    if west <= east:
        return ((west, south, east, north),)
    return ((west, south, 180.0, north), (-180.0, south, east, north))


def invalid(name: str, problem: str) -> RequestValidationError:
    """A parameter that has no meaning, told as all others are."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", name), "msg": problem}])


def _wrapped(lon: float) -> float:
    return (lon + 180) % 360 - 180


def _item_test(item: str | None) -> Callable[[Kind], bool]:
    if item is None or item == "xxxx":
        return lambda kind: True
    if item == "":
        return lambda kind: False
    families, numbers = set(), set()
    for part in item.split(","):
        if family := _ITEM_FAMILY.fullmatch(part.strip()):
            families.add(int(family[1]))
        elif part.strip() == "xxxx":
            return lambda kind: True
        elif (number := _number(part)) is not None:
            numbers.add(number)
    if not families and not numbers:
        return lambda kind: True
    return lambda kind: kind.item in numbers or kind.item // 1000 in families


def _source_test(source: str) -> Callable[[Kind], bool]:
    whole, classes = False, set()
    for part in source.split(","):
        number, dash, classs = part.partition("-")
        if _number(number) is None or (dash and _number(classs) is None):
            raise invalid("source", "expected numbers, or pairs such as 1-2")
        if _number(number) == SOURCE:
            whole |= not dash
            classes.add(_number(classs))
    return lambda kind: whole or kind.number in classes


def _is_country(asked: str | None, country: str) -> bool:
    if not asked:
        return True
    return country.startswith(asked[:-1]) if asked.endswith("*") else country == asked


def _numbers(name: str, text: str) -> set[int]:
    numbers = [_number(part) for part in text.split(",")]
    if None in numbers:
        raise invalid(name, "expected numbers, separated by commas")
    return {number for number in numbers if number is not None}


def _number(text: str) -> int | None:
    text = text.strip()
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None


def _day(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        year, month, day = (int(part or 1) for part in match.groups()) if match else (0, 0, 0)
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        raise invalid(name, "expected a date: Y, Y-m or Y-m-d") from None


def _after(text: str | None) -> After:
    if not text:
        return BEGINNING
    match = _AFTER.fullmatch(text)
    if match is None or int(match[1]) > LAST_PLACE:
        raise invalid("after", "expected what the Link to the next page says")
    return After(int(match[1]), match[2])
