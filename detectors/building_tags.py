"""What OSM tags say of a building: standing and open to judgement, or what else explains a roof or its absence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

#: Values of building=* that say there is none, not yet or no longer.
NOT_STANDING = frozenset(
    {"no", "none", "construction", "proposed", "planned", "demolished", "razed", "destroyed", "collapsed", "removed"}
)
#: Values of building=* that come and go, or that are hard to tell from above.
TRANSIENT = frozenset(
    {"tent", "houseboat", "static_caravan", "ruins", "ship", "container", "bunker", "entrance", "steps"}
)
#: Prefixes of lifecycle tags (OSM wiki, "Lifecycle prefix").
LIFECYCLE = (
    "proposed",
    "planned",
    "construction",
    "disused",
    "abandoned",
    "ruins",
    "demolished",
    "razed",
    "removed",
    "destroyed",
    "was",
)
#: Keys that say by themselves that the object is gone, unless their value is one of `NOT_GONE`.
GONE = ("demolished", "razed", "removed", "destroyed")
NOT_GONE = frozenset({"no", "false"})
#: Things that look like a roof from above and are mapped as something else.
ROOF_LIKE = {
    "man_made": {
        "storage_tank",
        "silo",
        "water_tower",
        "gasometer",
        "reservoir_covered",
        "bunker_silo",
        "works",
        "tower",
    },
    "amenity": {"shelter"},
    "aeroway": {"hangar", "terminal"},
    "power": {"substation", "transformer"},
    "leisure": {"stadium", "grandstand", "bleachers"},
    "building:part": None,
    "indoor": None,
}
#: Values of location=* that hide a building from above.
HIDDEN = frozenset({"underground", "underwater", "indoor"})
#: Keys that are read whatever their value; with `ROOF_LIKE`, all that is read.
READ = frozenset({"building", "location", "layer", *GONE, *(f"{prefix}:building" for prefix in LIFECYCLE)})
#: Keys that describe the building's form. Nothing reads them yet, but who edits them says that the form was another.
FORM = ("building:", "roof:")


def may_be_judged(tags: Mapping[str, str]) -> bool:
    """Whether the tags say that a building stands there, to be seen from above."""
    value = tags.get("building", "no")
    return (
        value not in NOT_STANDING
        and value not in TRANSIENT
        and tags.get("location") not in HIDDEN
        and not tags.get("layer", "0").startswith("-")
        and not _has_lifecycle(tags)
    )


def _has_lifecycle(tags: Mapping[str, str]) -> bool:
    return any(f"{prefix}:building" in tags for prefix in LIFECYCLE) or any(
        tags.get(key, "no") not in NOT_GONE for key in GONE
    )


def is_cover(tags: Mapping[str, str]) -> bool:
    """Whether the object explains what is seen without being a building to be judged."""
    return _has_lifecycle(tags) or any(key in tags and _is_roof_like(key, tags[key]) for key in ROOF_LIKE)


def is_selected(tags: Mapping[str, str]) -> bool:
    """Whether the object is a building, or explains why one is seen or not."""
    return "building" in tags or is_cover(tags)


def relevant_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that matter to a look at the object; a name or an address does not."""
    return {
        key: value
        for key, value in tags.items()
        if key in READ or key.startswith(FORM) or (key in ROOF_LIKE and _is_roof_like(key, value))
    }


def _is_roof_like(key: str, value: str) -> bool:
    values = ROOF_LIKE[key]
    return values is None or value in values


def _selection() -> str:
    """A digest of all that `is_selected` decides by."""
    roofs = {key: values and sorted(values) for key, values in ROOF_LIKE.items()}
    rules = json.dumps(["building", LIFECYCLE, GONE, sorted(NOT_GONE), roofs], sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()[:12]


#: Names what `is_selected` selects; another name for other rules.
SELECTION = _selection()
