"""How a challenge presents itself: its name, what mappers are told and see below it, and what they can answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from daemon.config import Config
from daemon.publish.feed import ExportContext, encode
from daemon.publish.maproulette.cooperative import CHANGE_FILE
from detectors.catalogue import Kind

#: Answer of a mapper -> the tag that says the same: the reasons why something is not an issue.
REASONS: Mapping[str, str] = {
    "no such object": "no-object",
    "already mapped": "already-mapped",
    "imagery outdated": "imagery-outdated",
    "misaligned": "misaligned",
    "other": "other",
}
#: Confidence from which a task is of high, and of medium priority; all others are of low.
HIGH, MEDIUM = 0.9, 0.75
#: Settings that the server does not tell, or that are told only once: no comparison with what is there.
UNTOLD = frozenset({"parent", "enabled", "tags", "preferredTags", "limitTags", "dataOriginDate", "featured"})


class Group(NamedTuple):
    """What goes into challenges of its own: one kind of claim of one detector, with or without change files."""

    detector: str
    kind: str
    way: int
    """MapRoulette's number of the way of cooperating: 0 none, 2 change file."""


def name_of(group: Group, part: int, context: ExportContext) -> str:
    """The name of a challenge, by which it is found again; no two of one installation have the same."""
    title = title_of(group, context)
    if sum(kind.words().title == title for kind in context.kinds.values()) > 1:
        title = f"{title} ({group.detector})"
    name = f"{title} - {context.area}"
    if group.way == CHANGE_FILE:
        name += ", drawn already"
    return name if part == 1 else f"{name}, part {part}"


def title_of(group: Group, context: ExportContext) -> str:
    """What a kind of claim is called."""
    kind = context.kinds.get((group.detector, group.kind))
    return kind.words().title if kind else f"{group.detector} {group.kind}"


def settings_of(
    group: Group, part: int, context: ExportContext, config: Config, basemap: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about a challenge but its tasks, its project, and whether people see it.

    Rules go as text that holds JSON, and the styles as a list: other forms are taken by the server and make the
    challenge unreadable, or are ignored.

    Args:
        basemap: one of `basemap.choices`.
    """
    knobs = config.maproulette
    kind = context.kinds.get((group.detector, group.kind))
    title = title_of(group, context)
    topics = [topic for topic in (kind.topics if kind else ()) if ":" not in topic and not topic.isdecimal()]
    return {
        "name": name_of(group, part, context),
        "description": _description(kind, title, context),
        "blurb": title,
        "instruction": _instruction(group, kind, title),
        "infoLink": knobs.info_link,
        "difficulty": knobs.difficulty,
        "checkinComment": " ".join([title, *_hashtags(knobs.hashtags)]),
        "checkinSource": "; ".join(f"{source.attribution}" for source in context.imagery),
        "tags": ",".join(dict.fromkeys([*topics, group.detector, "imagery", "machine-detected"])),
        "preferredTags": ",".join(REASONS.values()),
        "limitTags": True,
        "defaultPriority": 2,
        "highPriorityRule": _rule(HIGH),
        "mediumPriorityRule": _rule(MEDIUM),
        "defaultZoom": 18,
        "minZoom": 1,
        "maxZoom": 19,
        "requiresLocal": False,
        "featured": False,
        "updateTasks": False,
        "osmIdProperty": "",
        "exportableProperties": "key,kind,confidence",
        "taskStyles": [],
        **basemap,
    }


def digest_of(settings: Mapping[str, Any]) -> str:
    """Changes when any setting does."""
    return hashlib.sha256(encode(dict(sorted(settings.items())))).hexdigest()[:32]


def differing(settings: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that a challenge, as the server tells it, has otherwise."""
    return {
        name: value
        for name, value in settings.items()
        if name not in UNTOLD and _plain(_parsed(name, value)) != _plain(_parsed(name, there.get(name)))
    }


def _instruction(group: Group, kind: Kind | None, title: str) -> str:
    told = kind.words().instruction if kind else title
    drawn = (
        "\n\nThe change is drawn already: open the task in **JOSM**, compare it with the imagery, correct it, and "
        "upload it only if it is right."
        if group.way == CHANGE_FILE
        else ""
    )
    reasons = ",".join(REASONS)
    return (
        f"{told}{drawn}\n\n"
        f'[select "Why is it wrong?" name="reason" values="{reasons}"]\n\n'
        "Confidence {{confidence}}, area {{area_m2}} m²; imagery {{evidence_imagery}} of {{evidence_acquired}}; "
        "{{key}}.\n\n{{attribution}}"
    )


def _description(kind: Kind | None, title: str, context: ExportContext) -> str:
    told = [kind.words().detail, kind.words().fix, kind.words().trap] if kind else [title]
    return "\n\n".join([*told, "; ".join(context.attributions)])


def _hashtags(text: str) -> list[str]:
    return list(dict.fromkeys(["#maproulette", *text.split()]))


def _rule(confidence: float) -> str:
    """A priority rule. The value is split at its first dot, and compared with the task's property as a number."""
    rule = {"value": f"confidence.{confidence:.2f}", "type": "double", "operator": ">="}
    return json.dumps({"condition": "AND", "rules": [rule]})


def _parsed(name: str, value: Any) -> Any:
    """Rules go as text, and come back as objects."""
    return json.loads(value) if name.endswith("PriorityRule") and isinstance(value, str) and value else value


def _plain(value: Any) -> Any:
    """What is empty may be left out."""
    return None if value in ("", [], {}, None) else value
