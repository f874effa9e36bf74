"""The endpoints of challenges."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from fake_maproulette import uploads
from fake_maproulette.requests import Failure, Reply, Request, broken, empty_not_found, invalid, not_found
from fake_maproulette.state import (
    ALREADY_FIXED,
    ANSWERED,
    BUILDING,
    CREATED,
    DELETED,
    DELETING,
    DISABLED,
    FALSE_POSITIVE,
    FIXED,
    READY,
    SKIPPED,
    TOO_HARD,
    VALIDATED,
    ChallengeRow,
    ProjectRow,
    World,
)
from fake_maproulette.tasks import create_or_update

Route = Callable[[World, Request], Reply]

RULES = ("highPriorityRule", "mediumPriorityRule", "lowPriorityRule")
BOUNDS = ("highPriorityBounds", "mediumPriorityBounds", "lowPriorityBounds")
#: Members with what they are without being given.
DEFAULTS: Mapping[str, Any] = {
    "description": None, "infoLink": None, "blurb": None, "instruction": "", "difficulty": 2, "enabled": True,
    "featured": False, "checkinComment": "", "checkinSource": "", "requiresLocal": False, "overpassQL": None,
    "remoteGeoJson": None, "overpassTargetType": None, "defaultPriority": 0, "defaultZoom": 13, "minZoom": 1,
    "maxZoom": 19, "defaultBasemap": None, "defaultBasemapId": None, "customBasemap": None, "updateTasks": False,
    "exportableProperties": None, "osmIdProperty": None, "taskBundleIdProperty": None, "preferredTags": None,
    "preferredReviewTags": None, "limitTags": False, "limitReviewTags": False, "taskStyles": None, "paused": False,
    "reviewSetting": 0, "taskWidgetLayout": None, "datasetUrl": None, "presets": None, "requireConfirmation": False,
    "requireRejectReason": False, "dataOriginDate": None, **dict.fromkeys((*RULES, *BOUNDS)),
}
#: What reading a challenge by its id leaves out.
NOT_READ = ("tags", "presets", "preferredTags", "preferredReviewTags", "datasetUrl", "virtualParents")
METRICS: Mapping[str, int] = {
    "available": CREATED, "fixed": FIXED, "falsePositive": FALSE_POSITIVE, "skipped": SKIPPED, "deleted": DELETED,
    "alreadyFixed": ALREADY_FIXED, "tooHard": TOO_HARD, "answered": ANSWERED, "validated": VALIDATED,
    "disabled": DISABLED,
}


def listing(world: World, request: Request) -> Reply:
    projects = request.numbers("projectIds")
    rows = [
        row for row in world.challenges.values()
        if not row.deleted and (not projects or row.parent in projects)
        and (row.fields["enabled"] or not request.flag("onlyEnabled", True))
    ]
    offset, limit = request.count("page", 0), request.count("limit", 10)  # the page is an offset here
    rows = rows[offset:] if limit < 0 else rows[offset : offset + limit]
    return Reply(value=[
        {
            "id": row.id, "parent": row.parent, "name": row.name, "enabled": row.fields["enabled"],
            "virtualParents": None, "status": row.status, "isArchived": row.archived, "paused": row.paused,
        }
        for row in rows
    ])


def by_name(world: World, request: Request) -> Reply:
    for row in world.challenges.values():
        if row.parent == request.number and row.name == request.params["name"]:
            return Reply(value=as_json(world, row))
    raise empty_not_found()


def read(world: World, request: Request) -> Reply:
    row = world.challenges.get(request.number)
    if row is None:
        raise empty_not_found()
    return Reply(value={
        name: value for name, value in as_json(world, row).items() if value is not None and name not in NOT_READ
    })


def create(world: World, request: Request) -> Reply:
    value = request.json()
    if isinstance(value, dict) and isinstance(value.get("id"), int) and value["id"] > -1:
        return _change(world, request, value["id"], value)
    missing = [name for name in ("name", "instruction") if not isinstance(value, dict) or not value.get(name)]
    wrong = [name for name in (*RULES, *BOUNDS) if isinstance(value, dict) and not isinstance(
        value.get(name, ""), str)]
    if missing or wrong:
        raise invalid({f"obj.{name}": [{"msg": ["error.path.missing"]}] for name in [*missing, *wrong]})
    project = _project(world, request, value.get("parent"))
    _require_free(world, project.id, value["name"], None)
    now = world.clock()
    fields = {"name": value["name"], **{name: value.get(name, default) for name, default in DEFAULTS.items()}}
    row = ChallengeRow(
        world.number(), project.id, request.user.id, fields, now, now, archived=bool(value.get("isArchived")),
    )
    world.challenges[row.id] = row
    _add_keywords(row, value.get("tags"))
    if isinstance(value.get("status"), int):
        row.status = value["status"]
    for child in value.get("children") or []:
        create_or_update(
            world, row, child["name"], geometries=child.get("geometries"), instruction=child.get("instruction", ""),
            cooperative_work=child.get("cooperativeWork"),
        )
    if isinstance(value.get("localGeoJSON"), dict):
        _build(world, row, lambda: uploads.add_features(world, row, value["localGeoJSON"].get("features", [])))
    elif fields["overpassQL"] or fields["remoteGeoJson"]:
        _rebuild(world, row)
    return Reply(201, as_json(world, row))


def update(world: World, request: Request) -> Reply:
    return _change(world, request, request.number, request.json())


def archive(world: World, request: Request) -> Reply:
    value = request.json()
    row = _writable(world, request, request.number)
    if not isinstance(value, dict) or not isinstance(value.get("isArchived"), bool):
        raise invalid("isArchived is missing")
    row.archived, row.modified = value["isArchived"], world.clock()
    return Reply(value=row.archived)


def delete(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    if request.flag("immediate", False):
        for task in list(world.tasks_of(row.id)):
            world.remove_task(task.id)
        del world.challenges[row.id]
    else:
        row.deleted = True
    return Reply(value={"status": "OK", "message": f"Challenge {row.id} deleted by user {request.user.id}."})


def remove_keywords(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    gone = {word.strip().lower() for word in request.query.get("tags", "").split(",")}
    row.keywords = [word for word in row.keywords if word not in gone]
    return Reply()


def add_tasks(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    value = request.json()
    if "features" not in value:
        raise broken("JsResultException: /features: error.path.missing")
    uploads.add_features(world, row, value["features"])
    return Reply(204)


def add_file_tasks(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    part = request.part("json")
    uploads.require_idle(row)
    if part is None:
        raise invalid("No json file part was found in the request")
    uploads.upload(
        world, row, part,
        lines=request.flag("lineByLine", True),
        remove_unmatched=request.flag("removeUnmatched", False),
        origin=request.query.get("dataOriginDate", ""),
    )
    return Reply(204)


def rebuild(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    uploads.require_idle(row)
    if request.flag("removeUnmatched", False):
        for task in [task for task in world.tasks_of(row.id) if task.status in (CREATED, SKIPPED)]:
            world.remove_task(task.id)
    _rebuild(world, row)
    return Reply()


def delete_tasks(world: World, request: Request) -> Reply:
    row = _writable(world, request, request.number)
    if row.status == DELETING:
        raise invalid("Task deletion already in-progress for this challenge")
    if row.status == BUILDING:
        raise invalid("Tasks cannot be deleted while challenge is building")
    before, statuses = row.status, set(request.numbers("statusFilters"))
    row.status = DELETING

    def remove() -> None:
        for task in list(world.tasks_of(row.id)):
            if not statuses or task.status in statuses:
                world.remove_task(task.id)
        if before is not None:  # the status is put back only where there was one
            row.status = before

    world.jobs.append(remove)
    return Reply()


def as_json(world: World, row: ChallengeRow) -> dict[str, Any]:
    """A challenge in full.

    Raises:
        Failure: 500 for what was stored in a wrong form.
    """
    fields = dict(row.fields)
    for name in RULES:
        fields[name] = _decoded(fields[name], dict) if fields[name] else {}
    for name in BOUNDS:
        fields[name] = _decoded(fields[name], list) if fields[name] else []
    fields["taskStyles"] = fields["taskStyles"] or []
    if not isinstance(fields["taskStyles"], list):
        raise broken("JsResultException: error.expected.jsarray")
    counts = Counter(task.status for task in world.tasks_of(row.id))
    total = world.count(row.id)
    left = counts[CREATED] + counts[SKIPPED]
    return {
        **fields, "id": row.id, "parent": row.parent, "owner": row.owner, "created": row.created.isoformat(),
        "modified": row.modified.isoformat(), "deleted": row.deleted, "status": row.status,
        "statusMessage": row.status_message, "cooperativeType": row.cooperative_type, "isArchived": row.archived,
        "lastTaskRefresh": row.last_refresh.isoformat() if row.last_refresh else None,
        "completionPercentage": round(100 * (total - left) / total) if total else 0,
        "completionMetrics": {"total": total, **{name: counts[status] for name, status in METRICS.items()}},
        "tags": row.keywords,
    }


def _change(world: World, request: Request, number: int, value: Any) -> Reply:
    row = _writable(world, request, number)
    if not isinstance(value, dict):
        raise invalid({"obj": [{"msg": ["error.expected.jsobject"]}]})
    parent = value.get("parentId", row.parent)
    if value.get("name", row.name).lower() != row.name.lower() or parent != row.parent:
        _require_free(world, parent, value.get("name", row.name), row)
    for name in ("name", *DEFAULTS):
        silent = name in (*RULES, *BOUNDS) and not isinstance(value.get(name), str)
        if name in value and not silent:
            row.fields[name] = value[name]
    row.parent, row.owner = parent, value.get("ownerId", row.owner)
    if isinstance(value.get("status"), int):
        row.status = value["status"]
    if isinstance(value.get("isArchived"), bool):
        row.archived = value["isArchived"]
    _add_keywords(row, value.get("tags"))
    row.modified = world.clock()
    if (row.fields["overpassQL"] or row.fields["remoteGeoJson"]) and "isArchived" not in value:
        _rebuild(world, row)
    return Reply(value=as_json(world, row))


def _project(world: World, request: Request, number: Any) -> ProjectRow:
    if number is None:  # the user's home
        home = next((row for row in world.projects.values() if row.name == f"Home_{request.user.id}"), None)
        if home is None:
            now = world.clock()
            home = ProjectRow(world.number(), request.user.id, {"name": f"Home_{request.user.id}"}, now, now)
            world.projects[home.id] = home
        return home
    row = world.projects.get(number)
    if row is None or row.fields.get("isVirtual"):
        raise invalid(f"Invalid parent project {number}")
    world.require_write(request.user, row.id)
    return row


def _writable(world: World, request: Request, number: int) -> ChallengeRow:
    row = world.challenges.get(number)
    if row is None:
        raise not_found(f"No challenge with id {number} found")
    world.require_write(request.user, row.parent)
    return row


def _require_free(world: World, project: int, name: str, own: ChallengeRow | None) -> None:
    same = (row for row in world.challenges.values() if row.parent == project and not row.deleted and row is not own)
    if any(row.name.lower() == name.lower() for row in same):
        raise Failure(500, "KO", f"Challenge with name {name} already exists in the database")


def _add_keywords(row: ChallengeRow, given: Any) -> None:
    """Keywords are only added; what is a number is taken for the id of one."""
    words = given.split(",") if isinstance(given, str) else given or []
    for word in (str(word).strip().lower() for word in words):
        if word and not word.isdigit() and word not in row.keywords:
            row.keywords.append(word)


def _build(world: World, row: ChallengeRow, job: Callable[[], None]) -> None:
    row.status = BUILDING

    def run() -> None:
        row.status = READY
        job()

    world.jobs.append(run)


def _rebuild(world: World, row: ChallengeRow) -> None:
    row.rebuilds += 1
    _build(world, row, lambda: None)


def _decoded(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise broken(f"JsonParseException: {error}") from None
    if not isinstance(value, kind):
        raise broken(f"JsResultException: error.expected.{'jsarray' if kind is list else 'jsobject'}")
    return value


ROUTES: Mapping[str, Route] = {
    "challenge_listing": listing, "challenge_by_name": by_name, "challenge_read": read, "challenge_create": create,
    "challenge_update": update, "challenge_archive": archive, "challenge_delete": delete,
    "challenge_remove_keywords": remove_keywords, "add_tasks": add_tasks, "add_file_tasks": add_file_tasks,
    "challenge_rebuild": rebuild, "challenge_delete_tasks": delete_tasks,
}
