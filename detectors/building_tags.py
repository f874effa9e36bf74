"""What OSM tags say of a building: standing and open to judgement, or what else explains a roof or its absence."""

from __future__ import annotations

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


def may_be_judged(tags: Mapping[str, str]) -> bool:
    """Whether the tags say that a building stands there, to be seen from above."""
    value = tags.get("building", "no")
    return (
        value not in NOT_STANDING
        and value not in TRANSIENT
        and tags.get("location") not in {"underground", "underwater", "indoor"}
        and not tags.get("layer", "0").startswith("-")
        and not _has_lifecycle(tags)
    )


def _has_lifecycle(tags: Mapping[str, str]) -> bool:
    return any(f"{prefix}:building" in tags for prefix in LIFECYCLE) or any(
        tags.get(prefix, "no") not in {"no", "false"} for prefix in ("demolished", "razed", "removed", "destroyed")
    )


def is_cover(tags: Mapping[str, str]) -> bool:
    """Whether the object explains what is seen without being a building to be judged."""
    return _has_lifecycle(tags) or any(
        key in tags and (values is None or tags[key] in values) for key, values in ROOF_LIKE.items()
    )
