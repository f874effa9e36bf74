"""The rules that give a task its priority."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from shapely.geometry import box, shape

from fake_maproulette.requests import broken

NUMBERS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}


def priority_of(geojson: Mapping[str, Any], challenge: Mapping[str, Any]) -> int:
    """0 high, 1 medium, 2 low: the first of the rules that holds, otherwise the default.

    Raises:
        Failure: 500; a rule compares a number with what is none.
    """
    features = geojson["features"]
    for number, level in enumerate(("high", "medium", "low")):
        rule = decoded(challenge.get(f"{level}PriorityRule"))
        if rule and any(_holds(rule, feature) for feature in features):
            return number
        if any(shape(area["geometry"]).contains(shape(features[0]["geometry"]).centroid)
               for area in decoded(challenge.get(f"{level}PriorityBounds")) or []):
            return number
    return int(challenge.get("defaultPriority", 0))


def decoded(text: Any) -> Any:
    """A rule or bounds out of the string that they are stored in; None where there are none."""
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return json.loads(text) or None
    except ValueError:
        return None


def _holds(rule: Mapping[str, Any], feature: Mapping[str, Any]) -> bool:
    if "rules" in rule:
        every = all if rule.get("condition") == "AND" else any
        return every(_holds(one, feature) for one in rule["rules"])
    key, _, wanted = str(rule["value"]).partition(".")  # at the first dot
    if rule["type"] == "bounds":
        west, south, east, north = (float(part) for part in wanted.split(","))
        within = box(west, south, east, north).contains(shape(feature["geometry"]).centroid)
        return within == (rule["operator"] == "contains")
    properties = {name.lower(): value for name, value in (feature.get("properties") or {}).items()}
    found = properties.get(key.lower())
    if rule["type"] == "string":
        text = "" if found is None else str(found)
        return {
            "equal": text == wanted, "not_equal": text != wanted,
            "contains": wanted in text, "not_contains": wanted not in text,
            "is_empty": not text, "is_not_empty": bool(text),
        }.get(rule["operator"], False)
    if found is None:
        return False
    try:
        return NUMBERS[rule["operator"]](float(found), float(wanted))
    except ValueError:
        raise broken(f'For input string: "{found}"') from None
