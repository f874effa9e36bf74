"""Many tasks at once."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fake_maproulette.requests import Failure, broken, invalid
from fake_maproulette.state import BUILDING, CREATED, DELETING, FAILED, READY, SKIPPED, ChallengeRow, World
from fake_maproulette.tasks import create_or_update

log = logging.getLogger(__name__)

#: Where a task's name is looked for, one after the other; first in the feature, then in its properties.
NAMES = ("id", "@id", "osmid", "osm_id", "name")


def name_of(feature: Mapping[str, Any], own: str | None) -> str:
    """The identity that an uploaded feature gets. `own` is the challenge's osmIdProperty."""
    properties = feature.get("properties") or {}
    if own:
        found = feature.get(own, properties.get(own))
        return str(uuid.uuid4()) if found is None else str(found)
    for place in (feature, properties):
        for name in NAMES:
            if place.get(name) not in (None, ""):
                return str(place[name])
    return str(uuid.uuid4())


def require_idle(challenge: ChallengeRow) -> None:
    if challenge.status == BUILDING:
        raise invalid("The challenge is still building its tasks")
    if challenge.status == DELETING:
        raise invalid("The challenge is deleting its tasks")


def upload(
    world: World, challenge: ChallengeRow, content: bytes, *, lines: bool, remove_unmatched: bool, origin: str
) -> None:
    """PUT /challenge/{id}/addFileTasks. Tasks that fail are passed over without a word.

    Raises:
        Failure: 400 or 500; what came before a bad line stays.
    """
    require_idle(challenge)
    texts = content.removesuffix(b"\n").split(b"\n") if lines else [content]
    had = world.count(challenge.id)
    if lines and had + len(texts) > world.most_tasks:
        message = f"Tasks were not accepted. Your feature list size must be under {world.most_tasks}."
        if had:
            raise invalid(message)
        challenge.status, challenge.status_message = FAILED, message
        return
    if remove_unmatched:
        for row in [row for row in world.tasks_of(challenge.id) if row.status in (CREATED, SKIPPED)]:
            world.remove_task(row.id)
    if origin:
        challenge.fields["dataOriginDate"] = datetime.fromisoformat(origin).isoformat()
    for text in texts:
        try:
            collections = list(_collections(text, lines))
        except (ValueError, KeyError, TypeError) as error:
            challenge.status, challenge.status_message = FAILED, f"Could not parse the uploaded file: {error}"
            raise broken(f"Unexpected end-of-input or no features: {error}") from None
        for collection in collections:
            _add(world, challenge, collection)
    challenge.status, challenge.status_message = READY, None
    challenge.last_refresh = challenge.modified = world.clock()


def add_features(world: World, challenge: ChallengeRow, features: list[Any]) -> None:
    """PUT /challenge/{id}/addTasks: one task a feature, its properties as strings, what stands beside them lost."""
    require_idle(challenge)
    if len(features) > world.most_tasks:
        raise invalid(f"Tasks were not accepted. Your feature list size must be under {world.most_tasks}.")
    for feature in features:
        properties = {name: str(value) for name, value in (feature.get("properties") or {}).items()}
        _add(world, challenge, {"type": "FeatureCollection", "features": [{**feature, "properties": properties}]})
    challenge.status, challenge.status_message = READY, None
    challenge.last_refresh = challenge.modified = world.clock()


def _collections(text: bytes, lines: bool) -> Iterator[dict[str, Any]]:
    value = json.loads(text.removeprefix(b"\x1e"))
    if lines:
        value["features"][0]
        yield value
    else:
        for feature in value["features"]:
            yield {"type": "FeatureCollection", "features": [feature]}


def _add(world: World, challenge: ChallengeRow, collection: dict[str, Any]) -> None:
    try:
        name = name_of(collection["features"][0], challenge.fields.get("osmIdProperty") or None)
        if world.drops(name):
            raise broken("ERROR: deadlock detected")
        status = collection.get("status")
        create_or_update(
            world, challenge, name, geometries=collection, status=status if isinstance(status, int) else None
        )
    except (Failure, AttributeError) as error:
        log.debug("a task of an upload was lost: %s", error)
