"""The endpoints of tasks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from fake_maproulette import completion
from fake_maproulette.requests import (
    Failure,
    Reply,
    Request,
    broken,
    empty_not_found,
    html_failure,
    invalid,
    not_found,
)
from fake_maproulette.state import BUILDING, TaskRow, World
from fake_maproulette.tasks import centre, create_or_update, refresh_status, update_by_id

Route = Callable[[World, Request], Reply]


def create(world: World, request: Request) -> Reply:
    value = request.json()
    _require_task(value)
    if isinstance(value.get("id"), int) and value["id"] > -1:
        row = _writable(world, request, value["id"])
        update_by_id(world, row, value)
        return Reply(value=as_json(world, row))
    number = _create(world, request, value, over=lambda count: count > world.most_tasks)
    row = world.tasks[number]
    return Reply(201, as_json(world, row) | {"status": value.get("status")})  # an echo, not what is stored


def create_many(world: World, request: Request) -> Reply:
    """Elements that are wrong are passed over; some failures end it, and what came before stays."""
    values = request.json()
    if not isinstance(values, list):
        raise invalid("No JSON data in body provided to create tasks with. Must be an array.")
    for value in values:
        try:
            _require_task(value)
        except Failure:
            if not (isinstance(value, dict) and isinstance(value.get("id"), str) and value["id"].isdigit()):
                continue
            update_by_id(world, _writable(world, request, int(value["id"])), value)
            continue
        _create(world, request, value, over=lambda count: count >= world.most_tasks)
    return Reply(value={"status": "OK", "message": "Items created and updated"})


def read(world: World, request: Request) -> Reply:
    row = world.tasks.get(request.number)
    if row is None:
        raise empty_not_found()
    value = as_json(world, row) | {"tags": row.tags}
    held = world.lock_of(row.id)
    if held is not None:
        value |= {"lockedBy": held.user, "lockBundledTasks": []}
    return Reply(value={name: one for name, one in value.items() if one is not None})


def by_name(world: World, request: Request) -> Reply:
    found = [row for row in world.named(request.number, request.params["name"]) if row.name == request.params["name"]]
    if not found:
        raise empty_not_found()
    return Reply(value=as_json(world, found[0]))


def update(world: World, request: Request) -> Reply:
    value = request.json()
    row = world.task(request.number)
    project = world.challenge(row.parent).parent
    if not isinstance(value, dict):
        raise invalid("Expected a JSON object")
    status = value.get("status", row.status)
    if not world.may_write(request.user, project) and not completion.may_progress(row.status, status):
        raise invalid(
            f"Could not set status for task [{row.id}], progression from {row.status} to {status} not valid."
        )
    world.require_write(request.user, project)
    update_by_id(world, row, value)
    return Reply(value=as_json(world, row))


def set_status(world: World, request: Request) -> Reply:
    row = world.task(request.number)
    wanted = request.query.get("requestReview", "")
    if wanted.lower() not in ("", "true", "false"):
        raise broken(f'For input string: "{wanted}"')
    tags = [tag.strip() for tag in request.query.get("tags", "").split(",") if tag.strip()]
    completion.complete(
        world, request.user, row, int(request.params["status"]),
        tags=tags, responses=request.json() if request.body else None, review=wanted.lower() == "true",
    )
    return Reply(204)


def start(world: World, request: Request) -> Reply:
    row = world.task(request.number)
    completion.open_task(world, request.user, row)
    return Reply(value=as_json(world, row))


def release(world: World, request: Request) -> Reply:
    row = world.task(request.number)
    completion.release_task(world, request.user, row)
    return Reply(value=as_json(world, row))


def delete(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    world.remove_task(row.id)
    return Reply(value={"status": "OK", "message": f"Task {row.id} deleted by user {request.user.id}."})


def delete_many(world: World, request: Request) -> Reply:
    rows = _rows(world, request)
    for row in rows:
        world.remove_task(row.id)
    return Reply(value={"requested": len(rows), "deleted": len(rows)})


def archive(world: World, request: Request) -> Reply:
    archived = request.json().get("archived", True)
    for row in _rows(world, request):
        row.archived = archived
    return Reply(204)


def change_status(world: World, request: Request) -> Reply:
    """Gives many tasks a status in the background; their cooperative work is lost."""
    status, challenges = request.count("newStatus", 0), request.numbers("cid")
    wanted = request.numbers("tStatus") or [0, 3, 6]
    for number in challenges:
        world.require_write(request.user, world.challenge(number).parent)
    rows = [row for number in challenges for row in world.tasks_of(number) if row.status in wanted]
    before = {number: world.challenge(number).status for number in challenges}
    for number in challenges:
        world.challenge(number).status = BUILDING

    def change() -> None:
        for number in challenges:
            world.challenge(number).status = before[number]
        for row in rows:
            if row.id in world.tasks:
                update_by_id(world, row, {"status": status})
        for number in challenges:
            refresh_status(world, world.challenge(number), status)

    world.jobs.append(change)
    return Reply(value=len(rows))


def change_file(world: World, request: Request) -> Reply:
    row = world.tasks.get(request.number)
    work = row.cooperative_work if row is not None else None
    if work is None or work["meta"].get("type") != 2:
        raise html_failure(500, "Oops, an error occured")
    return Reply(content=base64.b64decode(work["file"]["content"]), kind="text/xml")


def as_json(world: World, row: TaskRow) -> dict[str, Any]:
    lon, lat = centre(row)
    return {
        "id": row.id, "name": row.name, "created": row.created.isoformat(), "modified": row.modified.isoformat(),
        "parent": row.parent, "instruction": row.instruction,
        "location": {"type": "Point", "coordinates": [lon, lat]},
        "geometries": row.geojson, "cooperativeWork": row.cooperative_work, "status": row.status,
        "mappedOn": row.mapped_on.isoformat() if row.mapped_on else None,
        "completedTimeSpent": None, "completedBy": row.completed_by,
        "review": {} if row.review is None else {"reviewStatus": row.review, "reviewedBy": row.reviewed_by},
        "priority": row.priority, "changesetId": row.changeset_id, "completionResponses": row.responses,
        "bundleId": None, "isBundlePrimary": None, "errorTags": "", "skipCount": row.skip_count,
        "archived": row.archived,
    }


def _require_task(value: Any) -> None:
    """What the server needs to take a body for a task.

    Raises:
        Failure: 400.
    """
    kinds = {"name": str, "parent": int, "geometries": (dict, str)}
    missing = [name for name, kind in kinds.items() if not isinstance(value, dict) or not isinstance(
        value.get(name), kind)]
    if missing:
        raise invalid({f"obj.{name}": [{"msg": ["error.path.missing"]}] for name in missing})


def _create(world: World, request: Request, value: Mapping[str, Any], over: Callable[[int], bool]) -> int:
    challenge = world.challenges.get(value["parent"])
    if challenge is None:
        raise not_found(f"No challenge with id {value['parent']} found")
    world.require_write(request.user, challenge.parent)
    if over(world.count(challenge.id)):
        raise invalid(f"Challenges cannot exceed {world.most_tasks} tasks")
    number, _ = create_or_update(
        world, challenge, value["name"],
        geometries=_object(value["geometries"]), instruction=value.get("instruction", ""),
        status=value["status"] if isinstance(value.get("status"), int) else None,
        cooperative_work=_object(value.get("cooperativeWork")),
        priority=value["priority"] if isinstance(value.get("priority"), int) else None,
    )
    tags = value.get("tags") or []
    row = world.tasks[number]
    row.tags += [tag for tag in (tags.split(",") if isinstance(tags, str) else tags) if tag and tag not in row.tags]
    refresh_status(world, challenge, row.status)
    return number


def _object(value: Any) -> Any:
    """Geometries and cooperative work may come as JSON in a string."""
    return json.loads(value) if isinstance(value, str) and value else value


def _writable(world: World, request: Request, number: int) -> TaskRow:
    row = world.task(number)
    world.require_write(request.user, world.challenge(row.parent).parent)
    return row


def _rows(world: World, request: Request) -> list[TaskRow]:
    """The tasks of a body's taskIds: all of them, or none.

    Raises:
        Failure: 400, 403 or 404.
    """
    numbers = request.json().get("taskIds")
    if not isinstance(numbers, list) or not numbers:
        raise invalid("taskIds must not be empty")
    return [_writable(world, request, number) for number in numbers]


ROUTES: Mapping[str, Route] = {
    "task_create": create, "tasks_create": create_many, "tasks_update": create_many, "task_read": read,
    "task_by_name": by_name, "task_update": update, "task_set_status": set_status, "task_start": start,
    "task_release": release, "task_delete": delete, "tasks_bulk_delete": delete_many, "tasks_archive": archive,
    "tasks_change_status": change_status, "cooperative_osc": change_file,
}
