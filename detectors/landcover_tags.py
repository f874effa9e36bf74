"""What OSM tags say of the cover of ground: which is which from space, and what may come and go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from detectors.datasets.landcover import COVERS, cover_of

#: What is judged, and by which classes a network may call it.
SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "water": ("water",),
    "forest": ("forest", "trees", "wood"),
    "built_up": ("built_up", "artificial", "urban"),
    "cultivated": ("cultivated", "cropland", "farmland"),
}
#: Covers on the map that leave no question when another is seen: an orchard looks like a wood, a park holds one, reeds
#: stand in water, a meadow is ploughed in one year and not in the next.
COMPATIBLE: Mapping[str, frozenset[str]] = {
    "water": frozenset({"water", "wetland"}),
    "forest": frozenset({"forest", "built_up", "wetland", "shrub", "cultivated"}),
    "built_up": frozenset({"built_up"}),
    "cultivated": frozenset({"cultivated", "grass", "built_up", "bare"}),
}
#: What a network may call each when it is there: a young wood is scrub, a fallow field is grass, an orchard a wood.
LOOKS_LIKE: Mapping[str, tuple[str, ...]] = {
    "water": ("water", "wetland"),
    "forest": ("forest", "trees", "wood", "shrub"),
    "cultivated": ("cultivated", "cropland", "farmland", "grass", "shrub", "bare", "forest", "trees", "wood"),
}
#: Tags that say of water or a wood that it is there at times only; a value that is one of `NEVER` does not.
COMING_AND_GOING = ("intermittent", "seasonal", "tidal", "flood_prone")
NEVER = frozenset({"no", "false"})
#: Uses of land in which people put up and plough under what they like: never accused.
UNSTEADY = frozenset({("landuse", "basin"), ("landuse", "salt_pond"), ("natural", "beach")})
#: Prefixes of lifecycle tags (OSM wiki, "Lifecycle prefix").
LIFECYCLE = ("proposed", "planned", "construction", "disused", "abandoned", "razed", "removed", "demolished", "was")
#: Keys that are read whatever their value.
READ = frozenset({"natural", "landuse", "waterway", "water", "wetland", "covered", "tunnel", "location",
                  "building", "highway", *COMING_AND_GOING})


def is_settled(tags: Mapping[str, str]) -> bool:
    """Whether the object is a building or a road: somebody has mapped where people live."""
    return tags.get("building", "no") != "no" or tags.get("highway", "no") not in ("no", "proposed", "planned")


def is_selected(tags: Mapping[str, str]) -> bool:
    """Whether the object covers ground, or shows that a settlement is mapped."""
    return cover_of(tags) is not None or is_settled(tags)


def may_be_judged(tags: Mapping[str, str]) -> bool:
    """Whether the tags say that the cover is there all year, open to the sky."""
    hidden = any(tags.get(key, "no") not in NEVER for key in ("covered", "tunnel"))
    moving = any(tags.get(key, "no") not in NEVER for key in COMING_AND_GOING)
    dated = any(key.partition(":")[0] in LIFECYCLE for key in tags)
    return not (hidden or moving or dated or tags.get("location") in ("underground", "indoor")
                or any((key, tags.get(key)) in UNSTEADY for key in ("landuse", "natural")))


def relevant_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that matter to a look at the object."""
    return {k: v for k, v in tags.items() if k in READ or k.partition(":")[0] in LIFECYCLE}


def _selection() -> str:
    rules = json.dumps([sorted(map(list, COVERS)), "building", "highway"], sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()[:12]


#: Names what `is_selected` selects; another name for other rules.
SELECTION = _selection()
