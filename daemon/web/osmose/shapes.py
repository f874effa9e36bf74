"""Issues as Osmose's API 0.3 writes them in JSON: in a list, in full, and one by itself.

Additions that its clients pass over: in full lists `key`, `confidence`, `geometry` (what was seen, or is mapped) and
`fixes`; on one issue these and `first_seen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish.feed import DECIMALS
from daemon.publish.osmose.subtitle import phrases, subtitle
from daemon.web.osmose.feed import Issue, Spot
from daemon.web.osmose.fixes import fixes_of
from daemon.web.osmose.parameters import SOURCE, Kinds
from detectors.base import OsmFeature
from detectors.catalogue import Kind

Json = dict[str, Any]

#: Half the side of the box that is shown around an issue, degrees.
AROUND = 0.002
#: The name of what an element is, by the letter that the lists have.
LETTERS = {"node": "N", "way": "W", "relation": "R"}


def encode_json(value: Any) -> bytes:
    """One line of UTF-8; what is in it comes from the ledger and the catalogue."""
    return orjson.dumps(value)


def auto(text: str) -> dict[str, str]:
    """A text in the language that was agreed upon."""
    return {"auto": text}


def brief(spot: Spot, kinds: Kinds) -> Json:
    """An issue in a list that does not say more."""
    return {
        "lat": round(spot.lat, DECIMALS), "lon": round(spot.lon, DECIMALS), "id": spot.uuid,
        "item": str(kinds[spot.detector, spot.kind].item),
    }


def tile_collection(spots: Sequence[Spot], kinds: Kinds) -> Json:
    """The issues of a tile as GeoJSON; their properties are these three and no others."""
    return {"type": "FeatureCollection", "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(spot.lon, DECIMALS), round(spot.lat, DECIMALS)]},
            "properties": {
                "uuid": spot.uuid, "item": kinds[spot.detector, spot.kind].item,
                "class": kinds[spot.detector, spot.kind].number,
            },
        }
        for spot in spots
    ]}


def full(issue: Issue, kinds: Kinds, languages: Sequence[str]) -> Json:
    """An issue in a list with `full=true`."""
    discrepancy = issue.discrepancy
    kind = kind_of(discrepancy, kinds)
    lon, lat = point(discrepancy)
    element = element_of(discrepancy)
    return {
        "lat": lat, "lon": lon, "id": issue.uuid, "item": str(kind.item), "source": SOURCE, "class": kind.number,
        "subtitle": auto(subtitle_of(discrepancy, kinds, languages)), "title": auto(kind.words(*languages).title),
        "level": kind.level,
        "update": timestamp(discrepancy.updated), "usernames": [],
        "osm_ids": {f"{element[0]}s": [element[1]]} if element else {},
        **additions(issue),
    }


def feature_properties(issue: Issue, kinds: Kinds, languages: Sequence[str], country: str, analyser: str) -> Json:
    """Properties of an issue in the GeoJSON export, all texts plain."""
    discrepancy = issue.discrepancy
    kind = kind_of(discrepancy, kinds)
    element = element_of(discrepancy)
    return {
        "uuid": issue.uuid, "item": kind.item, "class": kind.number, "source_id": SOURCE,
        "elems": [
            {"type": LETTERS[element[0]], "id": element[1], "tags": {}, "type_long": element[0]}
        ] if element else [],
        "subtitle": subtitle_of(discrepancy, kinds, languages), "country": country, "analyser": analyser,
        "title": kind.words(*languages).title, "level": kind.level, "timestamp": timestamp(discrepancy.updated),
        "menu": menu(discrepancy.detector), "fixes": fixes_of(discrepancy), "dat": -1,
        **{name: value for name, value in additions(issue).items() if name != "fixes"},
    }


def one(issue: Issue, kinds: Kinds, languages: Sequence[str], feature: OsmFeature | None) -> Json:
    """An issue by itself.

    Args:
        feature: the object it is about, as it is on the map now; None where there is none.
    """
    discrepancy = issue.discrepancy
    fixes = fixes_of(discrepancy) or []
    return {
        **_head(discrepancy), "uuid": issue.uuid, **_texts(discrepancy, kinds, languages),
        "b_date": discrepancy.updated.astimezone(UTC).strftime("%Y-%m-%d"), **_numbers(discrepancy, kinds),
        "elems": [{**element, "fixes": []} for element in elements(discrepancy, feature)],
        "new_elems": [
            {"num": number, "add": tag_list(change["create"]), "mod": tag_list(change["modify"]),
             "del": [{"k": key} for key in change["delete"]]}
            for number, changes in enumerate(fixes) for change in changes
        ],
        **additions(issue), "first_seen": utc(discrepancy.opened),
    }


def false_positive(issue: Issue, said: datetime, kinds: Kinds, languages: Sequence[str]) -> Json:
    """An issue that a person called none."""
    return {
        **_head(issue.discrepancy), "id": issue.uuid, **_texts(issue.discrepancy, kinds, languages),
        "b_date": None, "date": said.astimezone(UTC).isoformat(), **_numbers(issue.discrepancy, kinds),
    }


def elements(discrepancy: Discrepancy, feature: OsmFeature | None) -> list[Json]:
    """The object that an issue is about, with the tags and version it has now."""
    named = element_of(discrepancy)
    if named is None:
        return []
    kind, number = named
    element = {kind: True, "type": kind, "id": number, "tags": tag_list(feature.tags if feature else {})}
    return [element | {"version": feature.version} if feature else element]


def additions(issue: Issue) -> Json:
    """What other servers do not say."""
    discrepancy = issue.discrepancy
    return {
        "key": discrepancy.key, "confidence": round(discrepancy.confidence, 4),
        "geometry": issue.outline, "fixes": fixes_of(discrepancy),
    }


def element_of(discrepancy: Discrepancy) -> tuple[str, int] | None:
    """("way", 123) of the object it is about."""
    if discrepancy.osm is None:
        return None
    kind, _, number = discrepancy.osm.partition("/")
    return kind, int(number)


def kind_of(discrepancy: Discrepancy, kinds: Kinds) -> Kind:
    return kinds[discrepancy.detector, discrepancy.kind]


def subtitle_of(discrepancy: Discrepancy, kinds: Kinds, languages: Sequence[str]) -> str:
    """The line about this one, in the first of the languages that its kind and all phrases are there in."""
    kind = kind_of(discrepancy, kinds)
    language = next((one for one in languages if one in kind.wording and one in phrases()), "en")
    return subtitle(discrepancy, kind, language)


def menu(detector: str) -> str:
    """What an item is called: all that one detector has to say."""
    return f"{detector.replace('_', ' ').capitalize()} (imagery)"


def point(discrepancy: Discrepancy) -> tuple[float, float]:
    """(lon, lat) to a centimetre."""
    lon, lat = discrepancy.point
    return round(lon, DECIMALS), round(lat, DECIMALS)


def point_json(issue: Issue) -> Json:
    """Where it is, as GeoJSON."""
    return {"type": "Point", "coordinates": list(point(issue.discrepancy))}


def degrees(value: float) -> str:
    """A longitude or latitude for formats that know no exponents: 0.00001, not 1e-05."""
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def tag_list(tags: Mapping[str, str]) -> list[Json]:
    return [{"k": key, "v": value} for key, value in tags.items()]


def timestamp(moment: datetime) -> str:
    """2026-11-22 05:08:49+00:00"""
    return moment.astimezone(UTC).isoformat(" ", "seconds")


def _head(discrepancy: Discrepancy) -> Json:
    lon, lat = point(discrepancy)
    return {
        "lat": f"{lat:.{DECIMALS}f}", "lon": f"{lon:.{DECIMALS}f}", "minlat": lat - AROUND, "maxlat": lat + AROUND,
        "minlon": lon - AROUND, "maxlon": lon + AROUND,
    }


def _texts(discrepancy: Discrepancy, kinds: Kinds, languages: Sequence[str]) -> Json:
    title = kind_of(discrepancy, kinds).words(*languages).title
    return {"title": auto(title), "subtitle": auto(subtitle_of(discrepancy, kinds, languages))}


def _numbers(discrepancy: Discrepancy, kinds: Kinds) -> Json:
    kind = kind_of(discrepancy, kinds)
    return {"item": kind.item, "class": kind.number}
