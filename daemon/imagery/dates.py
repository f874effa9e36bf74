"""On which day imagery was taken, as far as a server tells: headers of tiles, metadata services, catalogues.

Of several days the oldest counts, and of a month or year its first day: the younger witness wins, so imagery must not
pass for younger than it is. Last-Modified is the day of a file, and no such date.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from xml.etree.ElementTree import Element

from daemon.config import Imagery
from daemon.errors import ImageInvalid
from daemon.imagery.address import UrlTemplate
from daemon.imagery.document import parse_json, parse_xml
from daemon.imagery.documents import Documents
from daemon.tiling.grid import Tile

log = logging.getLogger(__name__)

#: No imagery is older: the first photograph from the air.
FIRST = date(1858, 1, 1)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_YEAR = r"(?P<y>(?:18|19|20)\d\d)"
#: American; ISO 8601 without hyphens and with them, also a month alone; in words; a year alone. What one form has read,
#: the forms after it do not see.
_FORMS = tuple(re.compile(form, re.IGNORECASE) for form in (
    rf"\b(?P<m>[01]?\d)/(?P<d>[0-3]?\d)/{_YEAR}\b",
    rf"\b{_YEAR}(?P<m>[01]\d)(?P<d>[0-3]\d)(?:T\d|\d{{6}}\b|\b)",
    rf"\b{_YEAR}-(?P<m>[01]?\d)(?:-(?P<d>[0-3]?\d))?(?!\d)",
    rf"\b(?P<d>[0-3]?\d)[ .-](?P<name>[A-Z]{{3}})[A-Z]*[ .,-]+{_YEAR}\b",
    rf"\b(?P<name>[A-Z]{{3}})[A-Z]* +(?:(?P<d>[0-3]?\d),? +)?{_YEAR}\b",
    rf"(?<![\d/.-]){_YEAR}(?![\d/.-])",
))
#: A number from here on is milliseconds since 1970, as ArcGIS writes times.
_MILLISECONDS = 10**10


def oldest_day(text: str | int | float | None) -> date | None:
    """The oldest day that a value names, None where it names none."""
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, (int, float)):
        if abs(text) >= _MILLISECONDS:
            return _day_of_milliseconds(text)
        text = str(int(text)) if text == text and abs(text) < 1e9 else ""
    digits = text.strip()
    if digits.isdigit() and len(digits) in (11, 12, 13):
        return _day_of_milliseconds(int(digits))
    days, rest = [], text[:2000]
    for form in _FORMS:
        days += [day for match in form.finditer(rest) if (day := _day(match))]
        rest = form.sub(" ", rest)
    return min(days, default=None)


def _day(match: re.Match[str]) -> date | None:
    parts = match.groupdict()
    name = parts.get("name")
    try:
        month = _MONTHS.index(name.lower()) + 1 if name else int(parts.get("m") or 1)
        day = date(int(parts["y"]), month, int(parts.get("d") or 1))
    except ValueError:
        return None
    return day if FIRST <= day <= datetime.now(UTC).date() else None


def _day_of_milliseconds(number: float) -> date | None:
    try:
        day = datetime.fromtimestamp(number / 1000, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
    return day if FIRST <= day <= datetime.now(UTC).date() else None


def teller_of(source: Imagery) -> str:
    """Who tells the day of each place of a source, in words; "" where only the configuration does."""
    if source.kind == "stac":
        return "by item"
    if source.kind == "postgis":
        return f"by raster, column {source.date_column}" if source.date_column else ""
    tellers = [f"header {source.date_header}"] if source.date_header else []
    tellers += [f"date_url, field {source.date_field}"] if source.date_url else []
    return f"by tile ({', '.join(tellers)})" if tellers else ""


class MetadataService:
    """Asks for the days of tiles.

    Args:
        template: where a tile's metadata lies.
        field: name of a JSON key, an XML element or attribute, at whatever depth.
        zoom: days are asked for tiles of this zoom, or of the tile's own where that is lower.
    """

    def __init__(self, template: UrlTemplate, field: str, zoom: int, documents: Documents):
        self.problem = f"date_url: {template.problem}" if template.problem else None
        self._template, self._field, self._zoom = template, field, zoom
        self._documents = documents
        self._told = False
        self._lock = threading.Lock()

    def day(self, tile: Tile) -> date | None:
        """The oldest day on which a tile was taken, None where the service does not say.

        Raises:
            ImageryUnavailable: it does not answer; the same call may succeed later.
        """
        up = max(0, tile.z - self._zoom)
        url = self._template.fill(Tile(tile.z - up, tile.x >> up, tile.y >> up))
        try:
            with self._lock:  # neighbouring tiles want the same answer at the same time
                document = self._documents.read(url)
            tree = _parse(document.data, document.origin)
        except ImageInvalid as error:
            if not self._told:
                log.warning("%s; where no day is told, that of the source counts", error)
            self._told = True
            return None
        return min((day for value in _values(tree, self._field) if (day := oldest_day(value))), default=None)


def _parse(data: bytes, origin: str) -> Any:
    is_xml = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return parse_xml(data, origin) if is_xml else parse_json(data, origin)


def _values(tree: Any, field: str) -> Iterator[str | int | float]:
    """Every value of the fields of a name."""
    if isinstance(tree, Element):
        for element in tree.iter():
            yield from [element.text] if element.tag == field and element.text else []
            yield from [element.attrib[field]] if field in element.attrib else []
        return
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            found = one.get(field)
            yield from (v for v in (found if isinstance(found, list) else [found]) if isinstance(v, (str, int, float)))
            waiting += one.values()
