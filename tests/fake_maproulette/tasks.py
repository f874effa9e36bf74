"""What the database does when tasks are written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import shapely

from fake_maproulette.priority import priority_of
from fake_maproulette.requests import broken, invalid
from fake_maproulette.state import (
    CREATED,
    DISABLED,
    FALSE_POSITIVE,
    FINISHED,
    NOBODY,
    READY,
    SKIPPED,
    Action,
    ChallengeRow,
    TaskRow,
    World,
)


def checked_geometries(value: Any) -> dict[str, Any]:
    """A FeatureCollection, as far as the server looks at it.

    Raises:
        Failure: 400.
    """
    if not isinstance(value, dict) or value.get("type", "FeatureCollection") != "FeatureCollection":
        raise invalid("Invalid GeoJSON: type must be FeatureCollection")
    features = value.get("features")
    if not isinstance(features, list) or not features:
        raise invalid("Invalid GeoJSON: features must be a non-empty array")
    for feature in features:
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            raise invalid("Invalid GeoJSON: each feature must have a geometry object")
    return {**value, "type": "FeatureCollection"}


def cooperative_work_of(geojson: dict[str, Any], given: Any) -> dict[str, Any] | None:
    """What a task's cooperative work is: given beside its geometries, or taken out of them.

    Raises:
        Failure: 400 for a version that is not known, 500 without a type.
    """
    within = geojson.pop("cooperativeWork", None)
    work = given if isinstance(given, dict) else within
    if not isinstance(work, dict):
        return None
    meta = work.get("meta")
    version = meta.get("version") if isinstance(meta, dict) else None
    if version not in (1, 2):
        raise invalid(f"Unsupported cooperative work version: {version}")
    if version == 2 and not isinstance(meta.get("type"), int):
        raise broken("JsResultException: /meta/type: error.path.missing")
    return work


def create_or_update(
    world: World,
    challenge: ChallengeRow,
    name: str,
    *,
    geometries: Any,
    instruction: str = "",
    status: int | None = None,
    cooperative_work: Any = None,
    priority: int | None = None,
) -> tuple[int, bool]:
    """A task by its name, as POST /task and uploads write it; its id, and whether it is new.

    Raises:
        Failure: 400 or 500.
    """
    geojson = checked_geometries(geometries)
    work = cooperative_work_of(geojson, cooperative_work)
    _locate(geojson)
    level = priority_of(geojson, challenge.fields) if priority is None else priority
    if work is not None and work["meta"]["version"] == 2:
        challenge.cooperative_type = work["meta"]["type"]  # the last one wins, for the whole challenge
    namesakes = world.named(challenge.id, name)
    if not namesakes or not world.unique_index:
        now = world.clock()
        row = TaskRow(
            world.number(), name, challenge.id, instruction, CREATED if status is None else status, level, geojson,
            work, now, now,
        )
        world.add_task(row)
        return row.id, True
    exact = [row for row in namesakes if row.name == name]
    if not exact:  # the index minds no case, the update does
        raise broken("UnexpectedNullableFound(ColumnName(.create_update_task,Some(create_update_task)))")
    write_over(
        world, exact[0], status=status, instruction=instruction, geojson=geojson, cooperative_work=work,
        priority=level,
    )
    return exact[0].id, False


def write_over(
    world: World,
    row: TaskRow,
    *,
    status: int | None,
    geojson: dict[str, Any],
    cooperative_work: dict[str, Any] | None,
    instruction: str,
    priority: int,
    name: str | None = None,
    mapped_on: datetime | None = None,
    changeset_id: int = -1,
) -> None:
    """The database's own update: keeps the status without one, and resets one that is written again too late."""
    now = world.clock()
    before = row.status
    after = before if status is None else status
    too_late = now - row.modified > timedelta(days=world.reset_days)
    if status == before and before not in (DISABLED, FALSE_POSITIVE) and too_late:
        after = CREATED
    row.instruction, row.geojson, row.cooperative_work = instruction, geojson, cooperative_work
    row.priority, row.changeset_id, row.status, row.modified = priority, changeset_id, after, now
    if name is not None and name != row.name:
        world.remove_task(row.id)
        row.name = name
        world.add_task(row)
    if before != after:
        world.actions.append(Action(row.id, row.parent, NOBODY, now, before, after))
    if after == CREATED:
        row.review = row.reviewed_by = row.review_requested_by = row.reviewed_at = None
    if mapped_on is not None or after == CREATED:
        row.mapped_on = mapped_on


def update_by_id(world: World, row: TaskRow, value: Mapping[str, Any]) -> None:
    """PUT /task/{id}, for somebody who may write to the project."""
    challenge = world.challenge(int(value.get("parentId", row.parent)))
    given = value.get("geometries")
    geojson = checked_geometries(given if isinstance(given, dict) else row.geojson)
    work = cooperative_work_of(geojson, value.get("cooperativeWork"))  # absent is erased
    _locate(geojson)
    if work is not None and work["meta"]["version"] == 2:
        challenge.cooperative_type = work["meta"]["type"]
    status = value["status"] if isinstance(value.get("status"), int) else row.status
    ranked = isinstance(value.get("priority"), int)
    write_over(
        world, row,
        status=status, geojson=geojson, cooperative_work=work,
        instruction=value.get("instruction", row.instruction),
        priority=value["priority"] if ranked else priority_of(geojson, challenge.fields),
        name=value.get("name"),
        mapped_on=row.mapped_on,
        changeset_id=value.get("changesetId", row.changeset_id),
    )
    if status == CREATED:
        row.completed_by = row.responses = row.mapped_on = None
    elif status in (1, 2, 3, 5, 6):
        row.mapped_on = world.clock()
    refresh_status(world, challenge, status)


def refresh_status(world: World, challenge: ChallengeRow, status: int) -> None:
    """A challenge is finished when no task waits, and ready when one does again."""
    if status in (CREATED, SKIPPED):
        if challenge.status == FINISHED:
            challenge.status = READY
    elif world.count(challenge.id) and not any(
        row.status in (CREATED, SKIPPED) for row in world.tasks_of(challenge.id)
    ):
        challenge.status = FINISHED


def _locate(geojson: Mapping[str, Any]) -> None:
    """What PostGIS makes of the geometries.

    Raises:
        Failure: 500.
    """
    for feature in geojson["features"]:
        try:
            found = shapely.geometry.shape(feature["geometry"])
            if found.is_empty or not all(abs(edge) < 1e6 for edge in found.bounds):
                raise ValueError("empty or not finite")
            for ring in _rings(feature["geometry"]):
                if ring[0] != ring[-1] or len(ring) < 4:
                    raise ValueError("geometry contains non-closed rings")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
            raise broken(f"ERROR: {error}") from None


def _rings(geometry: Mapping[str, Any]) -> list[Any]:
    if geometry["type"] == "Polygon":
        return list(geometry["coordinates"])
    if geometry["type"] == "MultiPolygon":
        return [ring for part in geometry["coordinates"] for ring in part]
    return []


def centre(row: TaskRow) -> tuple[float, float]:
    """Longitude and latitude of a task."""
    parts = [shapely.geometry.shape(feature["geometry"]) for feature in row.geojson["features"]]
    point = shapely.GeometryCollection(parts).centroid
    return point.x, point.y
