"""The endpoints of users and projects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fake_maproulette.requests import Failure, Reply, Request, broken, empty_not_found, invalid, not_found
from fake_maproulette.state import ProjectRow, World

Route = Callable[[World, Request], Reply]

#: What may be changed of a project.
MEMBERS = ("name", "displayName", "description", "enabled", "featured", "isVirtual", "requireConfirmation")


def ping(world: World, request: Request) -> Reply:
    return Reply(content=b"pong", kind="text/plain")


def whoami(world: World, request: Request) -> Reply:
    user = request.user
    return Reply(value={
        "id": user.id, "guest": False, "apiKey": user.key, "score": user.score,
        "osmProfile": {"id": user.osm_id, "displayName": user.name},
        "grants": [{"target": {"objectId": row.id}, "role": 1} for row in world.projects.values()
                   if row.owner == user.id],
    })


def create(world: World, request: Request) -> Reply:
    fields = _fields(request.json())
    if "name" not in fields:
        raise invalid({"obj.name": [{"msg": ["error.path.missing"]}]})
    _require_free(world, fields["name"], None)
    now = world.clock()
    row = ProjectRow(world.number(), request.user.id, fields, now, now)
    world.projects[row.id] = row
    return Reply(201, as_json(row))


def by_name(world: World, request: Request) -> Reply:
    name = request.params["name"]
    for row in world.projects.values():
        if name in (row.name, row.fields.get("displayName")):
            return Reply(value=as_json(row))
    raise empty_not_found()


def read(world: World, request: Request) -> Reply:
    if request.number not in world.projects:
        raise empty_not_found()
    return Reply(value=as_json(world.projects[request.number]))


def update(world: World, request: Request) -> Reply:
    value = request.json()
    row = world.projects.get(request.number)
    if row is None:
        raise not_found(f"No project with id {request.number} found")
    world.require_write(request.user, row.id)
    fields = _fields(value)
    if "name" in fields:
        _require_free(world, fields["name"], row)
    row.fields.update(fields)
    row.owner = value.get("ownerId", row.owner)
    row.modified = world.clock()
    return Reply(value=as_json(row))


def as_json(row: ProjectRow) -> dict[str, Any]:
    return {
        "id": row.id, "owner": row.owner, "name": row.name, "created": row.created.isoformat(),
        "modified": row.modified.isoformat(), "description": row.fields.get("description"),
        "grants": [{"id": row.id, "name": "", "grantee": {"granteeId": row.owner}, "role": 1}],
        "enabled": row.fields.get("enabled", False), "displayName": row.fields.get("displayName"),
        "deleted": row.deleted, "isVirtual": row.fields.get("isVirtual"),
        "featured": row.fields.get("featured", False), "isArchived": False,
    }


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid({"obj": [{"msg": ["error.expected.jsobject"]}]})
    return {name: value[name] for name in MEMBERS if name in value}


def _require_free(world: World, name: str, own: ProjectRow | None) -> None:
    """A name is one project's on the whole server, deleted ones included.

    Raises:
        Failure: 500.
    """
    if any(row.name.lower() == name.lower() for row in world.projects.values() if row is not own):
        raise _taken(name)


def _taken(name: str) -> Failure:
    return broken(
        'ERROR: duplicate key value violates unique constraint "idx_projects_name"\n'
        f"  Detail: Key (lower(name::text))=({name.lower()}) already exists."
    )


ROUTES: Mapping[str, Route] = {
    "ping": ping, "whoami": whoami, "project_create": create, "project_by_name": by_name, "project_read": read,
    "project_update": update,
}
