"""What OSM tags say of a road: how wide it is, whether it can be seen from above, and what else may look like one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

#: Width of a lane where only their number is known, metres.
LANE_M = 3.5
#: Metres from kerb to kerb where no tag says: both directions of a two-way road, one of a dual carriageway. Number of
#: lanes by class as wiki.openstreetmap.org/wiki/Key:lanes#Assumptions has it (motorway and trunk 2 or 3 a direction,
#: tertiary and up 2, residential 2 narrow ones, service and track 1), 3.5 m each on the large and 3 m on the small.
WIDTHS_M: Mapping[str, float] = {
    "motorway": 11.0, "trunk": 10.0, "primary": 9.0, "secondary": 8.0, "tertiary": 7.0, "unclassified": 6.0,
    "residential": 6.0, "living_street": 5.0, "service": 4.0, "road": 6.0, "busway": 5.0, "raceway": 8.0,
    "motorway_link": 6.0, "trunk_link": 6.0, "primary_link": 6.0, "secondary_link": 6.0, "tertiary_link": 6.0,
    "pedestrian": 5.0, "track": 3.0,
}
#: A width beyond these is a slip of the pen (a width in feet or centimetres).
NARROWEST_M, WIDEST_M = 1.0, 60.0
#: wiki.openstreetmap.org/wiki/Key:width: metres unless a unit is given.
_LENGTH = re.compile(r"^\s*(\d+(?:[.,]\d+)?)\s*(m|ft|')?\s*$")
_FEET_M = 0.3048

#: Classes that are never accused: unpaved or narrow ones, which a network of roads sees only now and then, and what
#: people use as they like. They explain a road that is seen.
QUIET = frozenset({"track", "pedestrian", "raceway"})
#: Values of service=* of such: lanes between parked cars, and drives.
QUIET_SERVICE = frozenset({"driveway", "parking_aisle", "drive-through", "emergency_access"})
#: Values of highway=* that say that there is no road, not yet or no longer.
NOT_THERE = frozenset({"construction", "proposed", "planned", "abandoned", "disused", "razed", "demolished", "no",
                       "platform", "rest_area", "services", "elevator"})
#: Prefixes of lifecycle tags (OSM wiki, "Lifecycle prefix").
LIFECYCLE = ("proposed", "planned", "construction", "disused", "abandoned", "demolished", "razed", "removed",
             "destroyed", "was")
#: Keys that hide a road from above unless their value is one of `NOT_HIDDEN`, or lift it off the ground.
HIDING = ("tunnel", "covered", "indoor", "bridge")
NOT_HIDDEN = frozenset({"no", "false"})
#: Areas of sealed or bare ground, and lines of other traffic, that look like roads from above: key -> values, None
#: for any.
LOOKALIKES: Mapping[str, frozenset[str] | None] = {
    "amenity": frozenset({"parking", "bicycle_parking", "motorcycle_parking", "parking_space", "fuel", "marketplace"}),
    "railway": None,
    "waterway": None,
    "aeroway": None,
    "natural": frozenset({"water", "coastline", "beach", "sand", "scree", "shingle", "bare_rock"}),
    "water": None,
    "landuse": frozenset({"railway", "quarry", "landfill", "construction", "reservoir", "basin", "salt_pond"}),
    "leisure": frozenset({"track", "pitch", "marina"}),
    "man_made": frozenset({"pier", "breakwater", "dyke", "embankment", "pipeline", "cutline"}),
    "power": frozenset({"plant", "substation"}),
}
#: Roofs, which have the colours of roads and hide what is below them.
ROOFS = "building"
#: Ground under trees, where a road may be and not be seen.
WOODED: Mapping[str, frozenset[str]] = {
    "natural": frozenset({"wood", "tree_row"}), "landuse": frozenset({"forest", "orchard"}),
}
#: Keys that are read whatever their value, of objects that are or were roads.
READ = frozenset({"highway", "layer", "width", "est_width", "lanes", "area", "service", *HIDING, *LIFECYCLE,
                  *(f"{prefix}:highway" for prefix in LIFECYCLE)})


def road_width(tags: Mapping[str, Any], default_m: float | None = None) -> float:
    """Width of a road in metres: `width`, else `est_width`, else `lanes` (SpaceNet: `lane_number`) times 3.5 m, else
    by highway class, else `default_m`."""
    for key in ("width", "est_width"):
        said = _LENGTH.match(str(tags.get(key, "")))
        if said:
            metres = float(said[1].replace(",", ".")) * (_FEET_M if said[2] in ("ft", "'") else 1)
            if NARROWEST_M <= metres <= WIDEST_M:
                return metres
    for key in ("lanes", "lane_number", "lane_numbe"):
        text = str(tags.get(key, ""))
        if text.isascii() and text.isdecimal() and 1 <= int(text) * LANE_M <= WIDEST_M:
            return int(text) * LANE_M
    fallback = WIDTHS_M["road"] if default_m is None else default_m
    return WIDTHS_M.get(str(tags.get("highway")), fallback)


def is_way(tags: Mapping[str, str]) -> bool:
    """Whether the object is a way that people use, of any class, at any height: it explains a road that is seen."""
    return tags.get("highway", "no") not in NOT_THERE


def may_be_judged(tags: Mapping[str, str]) -> bool:
    """Whether the tags say that a road for traffic lies there, on the ground, open to the sky."""
    return (
        is_way(tags)
        and tags["highway"] in WIDTHS_M
        and tags["highway"] not in QUIET
        and tags.get("service") not in QUIET_SERVICE
        and all(tags.get(key, "no") in NOT_HIDDEN for key in HIDING)
        and tags.get("area") != "yes"
        and not tags.get("layer", "0").startswith("-")
        and not _has_lifecycle(tags)
    )


def is_cover(tags: Mapping[str, str]) -> bool:
    """Whether the object looks like a road from above, or is said to be none, not yet or no longer."""
    return "highway" in tags or _has_lifecycle(tags) or _is_among(LOOKALIKES, tags)


def is_wooded(tags: Mapping[str, str]) -> bool:
    """Whether trees stand there."""
    return _is_among(WOODED, tags)


def is_roof(tags: Mapping[str, str]) -> bool:
    """Whether a building stands there."""
    return tags.get(ROOFS, "no") not in NOT_HIDDEN


def is_selected(tags: Mapping[str, str]) -> bool:
    """Whether the object is a road, or explains why one is seen or not."""
    return is_cover(tags) or is_wooded(tags) or is_roof(tags)


def relevant_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that matter to a look at the object; a name or a surface does not."""
    read = {
        key: value for key, value in tags.items()
        if key in READ or _is_among(LOOKALIKES, {key: value}) or _is_among(WOODED, {key: value})
    }
    return read | ({ROOFS: "yes"} if is_roof(tags) else {})


def _has_lifecycle(tags: Mapping[str, str]) -> bool:
    return any(f"{prefix}:highway" in tags for prefix in LIFECYCLE) or any(
        tags.get(prefix, "no") not in NOT_HIDDEN and "highway" in tags for prefix in LIFECYCLE
    )


def _is_among(table: Mapping[str, frozenset[str] | None], tags: Mapping[str, str]) -> bool:
    return any(key in tags and (values is None or tags[key] in values) for key, values in table.items())


def _selection() -> str:
    """A digest of all that `is_selected` decides by."""
    tables = [{key: values and sorted(values) for key, values in table.items()} for table in (LOOKALIKES, WOODED)]
    rules = json.dumps(["highway", ROOFS, LIFECYCLE, sorted(NOT_HIDDEN), tables], sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()[:12]


#: Names what `is_selected` selects; another name for other rules.
SELECTION = _selection()
