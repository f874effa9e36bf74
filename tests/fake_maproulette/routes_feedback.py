"""The endpoints by which one learns what became of tasks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from fake_maproulette.completion import comment
from fake_maproulette.requests import Reply, Request, broken, invalid, not_found
from fake_maproulette.routes_challenges import METRICS
from fake_maproulette.routes_tasks import as_json
from fake_maproulette.state import NOBODY, CommentRow, TaskRow, World
from fake_maproulette.tasks import centre

Route = Callable[[World, Request], Reply]

#: Statuses as exports write them.
STATUS_NAMES = (
    "Created", "Fixed", "Not_An_Issue", "Skipped", "Deleted", "Already_Fixed", "Too_Hard", "Answered", "Validated",
    "Disabled",
)
#: What tasks can be sorted by: the parameter, and the row's member.
SORTS: Mapping[str, str] = {
    "mappedOn": "mapped_on", "reviewedAt": "reviewed_at", "id": "id", "name": "name", "status": "status",
    "priority": "priority", "created": "created", "modified": "modified",
}
CSV_COLUMNS = (
    "TaskID", "ChallengeID", "TaskName", "TaskStatus", "TaskPriority", "MappedOn", "CompletionTime", "Mapper",
    "ReviewStatus", "Reviewer", "ReviewedAt", "ReviewTimeSeconds", "AdditionalReviewers", "MetaReviewStatus",
    "MetaReviewer", "MetaReviewedAt", "Comments", "BundleId", "IsBundlePrimary", "Tags",
)


def box(world: World, request: Request) -> Reply:
    west, south, east, north = (float(request.params[name]) for name in ("left", "bottom", "right", "top"))
    if request.body:
        request.json()
    statuses = request.numbers("tStatus") or [0, 3, 6]
    challenges, reviews = request.numbers("cid"), request.numbers("trStatus")
    rows = [
        row for row in _of_challenges(world, challenges, request.flag("ca", False))
        if (-1 in statuses or row.status in statuses)
        and (not reviews or (-1 if row.review is None else row.review) in reviews)
        and (request.flag("excludeLocked", False) or not _is_hidden(world, request, row))
    ]
    if (west, south, east, north) != (-180, -90, 180, 90):
        rows = [row for row in rows if _is_within(row, west, south, east, north)]
    rows = _sorted(world, rows, request.query.get("sort", ""), request.query.get("order", "ASC"))
    limit, page = request.count("limit", 10_000), request.count("page", 0)
    some = rows[limit * page : limit * (page + 1)]
    now = world.clock().isoformat()
    marks = [_mark(world, row, now, request.flag("includeTags", False)) for row in some]
    return Reply(value={"total": len(rows), "tasks": marks} if request.flag("includeTotal", False) else marks)


def challenge_tasks(world: World, request: Request) -> Reply:
    rows = list(world.tasks_of(request.number))
    limit, page = request.count("limit", 10), request.count("page", 0)
    some = rows if limit < 0 else rows[limit * page : limit * (page + 1)]
    return Reply(value=[as_json(world, row) | {"tags": row.tags} for row in some])


def view(world: World, request: Request) -> Reply:
    """A feature for each feature of a task and each time that it got its status."""
    world.challenge(request.number)
    statuses = request.numbers("status")
    features = [
        feature for row in world.tasks_of(request.number) if not statuses or row.status in statuses
        for feature in _viewed(world, row)
    ]
    return Reply(value={"type": "FeatureCollection", "features": features or None})


def extract(world: World, request: Request) -> Reply:
    """The header announces columns for the exportable properties that the rows do not have."""
    challenge = world.challenge(request.number)
    world.require_write(request.user, challenge.parent)
    zone = request.query.get("timezone", "")
    if zone and not (zone[0] in "+-" and len(zone) == 6 and zone[3] == ":"):
        raise invalid(f"Invalid timezone {zone}")
    text = io.StringIO()
    table = csv.writer(text)
    announced = [name for name in (challenge.fields["exportableProperties"] or "").split(",") if name]
    table.writerow([*CSV_COLUMNS, *announced, *(f"Recorded_{name}" for name in announced)])
    statuses = request.numbers("status")
    for row in world.tasks_of(challenge.id):
        if not statuses or row.status in statuses:
            said = "|".join(one.text for one in world.comments if one.task == row.id)
            table.writerow([
                row.id, row.parent, row.name, STATUS_NAMES[row.status], row.priority, row.mapped_on or "", "",
                _name(world, row.completed_by) or "", "" if row.review is None else row.review,
                _name(world, row.reviewed_by) or "", row.reviewed_at or "", "", "", "", "", "", said, "", "",
                ",".join(row.tags),
            ])
    headers = {"Content-Disposition": f'attachment; filename="challenge_{challenge.id}_tasks.csv"'}
    return Reply(content=text.getvalue().encode(), kind="text/csv; header=present", headers=headers)


def comments(world: World, request: Request) -> Reply:
    """In no order."""
    world.challenge(request.number)
    found = [one for one in world.comments if world.tasks[one.task].parent == request.number]
    world.random.shuffle(found)
    limit, page = request.count("limit", 10), request.count("page", 0)
    some = found if limit < 0 else found[limit * page : limit * (page + 1)]
    return Reply(value=[_comment(world, one) for one in some])


def add_comment(world: World, request: Request) -> Reply:
    value = request.json()
    text = value.get("comment") if isinstance(value, dict) else None
    if not isinstance(text, str) or not text:
        raise invalid("comment must not be empty")
    return Reply(201, _comment(world, comment(world, request.user, world.task(request.number), text)))


def history(world: World, request: Request) -> Reply:
    entries: list[dict[str, Any]] = [
        {
            "taskId": one.task, "timestamp": one.at.isoformat(), "actionType": one.kind,
            "user": _user(world, one.user),
            **({"oldStatus": one.old, "status": one.new} if one.kind == 1 else {"reviewStatus": one.new}),
        }
        for one in world.actions if one.task == request.number
    ]
    entries += [
        {
            "taskId": one.task, "timestamp": one.at.isoformat(), "actionType": 0, "user": _user(world, one.user),
            "comment": one.text, "entryId": one.id,
        }
        for one in world.comments if one.task == request.number
    ]
    return Reply(value=sorted(entries, key=lambda entry: entry["timestamp"], reverse=True))


def raw_activity(world: World, request: Request) -> Reply:
    """By whole days; breaks where a status was written by right of ownership."""
    today = world.clock().date()
    first = _day(request.query.get("start"), today - timedelta(days=7))
    last = _day(request.query.get("end"), today)
    challenges = request.numbers("challengeIds")
    found = [
        one for one in world.actions
        if one.kind == 1 and first <= one.at.date() <= last and (not challenges or one.challenge in challenges)
    ]
    if any(one.user == NOBODY for one in found):
        raise broken("UnexpectedNullableFound(ColumnName(users.name,Some(osmUsername)))")
    return Reply(value=[
        {
            "date": datetime.combine(one.at.date(), time(), one.at.tzinfo).isoformat(),
            "osmUserId": world.users[one.user].osm_id, "osmUsername": world.users[one.user].name,
            "projectId": world.challenges[one.challenge].parent, "challengeId": one.challenge, "taskId": one.task,
            "challengeName": world.challenges[one.challenge].name, "oldStatus": one.old or 0, "status": one.new,
        }
        for one in found
    ])


def summary(world: World, request: Request) -> Reply:
    row = world.challenges.get(request.number)
    if row is None:
        raise not_found(f"No challenge with id {request.number} found")
    statuses = [task.status for task in world.tasks_of(row.id)]
    actions = {"total": len(statuses), **{name: statuses.count(status) for name, status in METRICS.items()}}
    return Reply(value=[{"id": row.id, "name": row.name, "actions": actions}])


def _of_challenges(world: World, challenges: list[int], archived: bool) -> Iterator[TaskRow]:
    for number in challenges or list(world.challenges):
        row = world.challenges.get(number)
        if row is not None and not row.deleted and (archived or not row.archived):
            for task in world.tasks_of(number):
                if archived or not task.archived:
                    yield task


def _is_hidden(world: World, request: Request, row: TaskRow) -> bool:
    held = world.lock_of(row.id)
    return held is not None and (request.user is None or held.user != request.user.id)


def _is_within(row: TaskRow, west: float, south: float, east: float, north: float) -> bool:
    lon, lat = centre(row)
    return west <= lon <= east and south <= lat <= north


def _sorted(world: World, rows: list[TaskRow], sort: str, order: str) -> list[TaskRow]:
    if not sort:
        rows = list(rows)
        world.random.shuffle(rows)
        return rows
    member = SORTS[sort]
    down = order == "DESC"
    with_value = [row for row in rows if getattr(row, member) is not None]
    without = [row for row in rows if getattr(row, member) is None]
    with_value.sort(key=lambda row: getattr(row, member), reverse=down)
    return [*without, *with_value] if down and world.nulls_first else [*with_value, *without]


def _mark(world: World, row: TaskRow, now: str, tags: bool) -> dict[str, Any]:
    challenge = world.challenges[row.parent]
    lon, lat = centre(row)
    held = world.lock_of(row.id)
    review: dict[str, Any] = {}
    if row.review is not None:
        review = {
            "reviewStatus": row.review, "reviewRequestedBy": _user(world, row.review_requested_by),
            "reviewedBy": _user(world, row.reviewed_by),
            "reviewedAt": row.reviewed_at.isoformat() if row.reviewed_at else None,
        }
    return {
        "id": row.id, "owner": challenge.owner, "ownerName": "", "title": row.name, "parentId": row.parent,
        "parentName": challenge.name, "point": {"lat": lat, "lng": lon}, "blurb": challenge.fields["blurb"] or "",
        "modified": now, "difficulty": challenge.fields["difficulty"], "type": 4, "status": row.status,
        "mappedOn": row.mapped_on.isoformat() if row.mapped_on else None, "completedTimeSpent": None,
        "completedBy": _user(world, row.completed_by), "pointReview": review, "priority": row.priority,
        "bundleId": None, "isBundlePrimary": None, "lockedBy": held.user if held else None,
        **({"tags": [{"id": number, "name": tag} for number, tag in enumerate(row.tags)]} if tags else {}),
    }


def _viewed(world: World, row: TaskRow) -> Iterator[dict[str, Any]]:
    times = sum(1 for one in world.actions if one.task == row.id and one.kind == 1 and one.new == row.status)
    for feature in row.geojson["features"]:
        properties = {
            **(feature.get("properties") or {}), "mr_taskId": row.id, "mr_taskName": row.name,
            "mr_taskStatus": STATUS_NAMES[row.status], "mr_taskPriority": row.priority,
            "mr_mappedOn": row.mapped_on.isoformat() if row.mapped_on else None,
            "mr_mapper": _name(world, row.completed_by), "mr_tags": ",".join(row.tags) or None,
            "mr_responses": row.responses,
        }
        for _ in range(max(1, times)):
            yield {**feature, "type": "Feature", "properties": properties}


def _comment(world: World, one: CommentRow) -> dict[str, Any]:
    user, row = world.users[one.user], world.tasks[one.task]
    return {
        "id": one.id, "osm_id": user.osm_id, "osm_username": user.name, "avatarUrl": "", "taskId": row.id,
        "challengeId": row.parent, "projectId": world.challenges[row.parent].parent, "created": one.at.isoformat(),
        "comment": one.text, "actionId": None, "edited": False, "taskStatus": row.status,
    }


def _user(world: World, number: int | None) -> dict[str, Any] | None:
    user = world.users.get(number) if number is not None else None
    return {"id": user.id, "username": user.name} if user else None


def _name(world: World, number: int | None) -> str | None:
    user = world.users.get(number) if number is not None else None
    return user.name if user else None


def _day(text: str | None, otherwise: date) -> date:
    return datetime.fromisoformat(text).date() if text else otherwise


ROUTES: Mapping[str, Route] = {
    "tasks_box": box, "challenge_tasks": challenge_tasks, "challenge_geojson": view, "challenge_csv": extract,
    "challenge_comments": comments, "task_comment_add": add_comment, "task_history": history,
    "raw_activity": raw_activity, "challenge_summary": summary,
}
