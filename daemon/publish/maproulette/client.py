"""Client: every call of MapRoulette's API that is used.

What its server does decides what is called, and how:

* names of projects are unique on the whole server, those of challenges within their project; what exists already is
  answered by an error 500. So both are looked up before they are made, and once more after a failure that does not
  say whether they were made: `obtain_project`, `obtain_challenge`.
* a task's identity is its name within the challenge, in lower case. Sending a known name again updates the task as long
  as the database has its unique index, which the public server had lost for years: then it makes a namesake. So a task
  is looked up before it is made, and what an update answers is compared with what was to be updated: `put_task`.
* an upload says 204 whatever became of it, and is not repeated here: read back what is there, and send what is not.
* PUT on a task erases its cooperative work where that is not sent along, and falls back to "created" where the status
  sent (or, without one, kept) is what it has had for 14 days. So it is for real transitions only: `set_task`.
* an account has one task open at a time; `opened` is the one way to do so, and always closes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Any

from daemon import __version__
from daemon.config import MapRoulette, api_key
from daemon.errors import (
    ChallengeBusy,
    ChallengeFull,
    KeyRefused,
    LockConflict,
    MapRouletteError,
    MapRouletteInvalid,
    MapRouletteMissing,
    MapRouletteUnavailable,
    NameTaken,
    ReplyInvalid,
)
from daemon.fetch import Fetcher
from daemon.publish.maproulette.exchange import Exchange, Rehearsal, segment
from daemon.publish.maproulette.members import each
from daemon.publish.maproulette.replies import (
    BUSY,
    Challenge,
    Comment,
    HistoryEntry,
    Listed,
    Project,
    Status,
    Task,
    TaskMark,
    User,
    ViewedTask,
)

log = logging.getLogger(__name__)

#: Tasks that a challenge may have, whatever their status.
MOST_TASKS = 50_000
#: Tasks on one page of `marks`.
PAGE = 500
#: Full tasks on one page of `tasks`.
FULL_PAGE = 200


class Client:
    """The API of one server for the owner of one key. Safe to share between threads.

    In a dry run nothing that changes anything is sent, and what would be made gets a negative id, by which nothing
    can be read.
    """

    def __init__(self, exchange: Exchange):
        self._exchange = exchange
        self._made_up = 0

    @classmethod
    def open(
        cls,
        knobs: MapRoulette,
        contact: str,
        stop: threading.Event,
        resources: ExitStack,
        rehearse: Callable[[Rehearsal], None] | None = None,
    ) -> Client:
        """As configured; its connections are closed with `resources`. Nothing is asked yet.

        Args:
            contact: of whoever runs this, sent in the User-Agent.
            stop: ends waits and transfers at once when set.
            rehearse: is told of what would be sent, in a dry run.

        Raises:
            ConfigError: there is no API key where one should be.
        """
        fetcher = resources.enter_context(closing(Fetcher(
            f"mapgap/{__version__} (+{contact.strip()})" if contact.strip() else f"mapgap/{__version__}",
            connections=1, rate=knobs.rate, timeout=knobs.timeout, retries=knobs.retries, stop=stop,
        )))
        return cls(Exchange(
            knobs.url, api_key(knobs), fetcher,
            upload_timeout=knobs.upload_timeout, dry_run=knobs.dry_run, rehearse=rehearse,
        ))

    @property
    def dry_run(self) -> bool:
        return self._exchange.dry_run

    @property
    def url(self) -> str:
        """Base of the API."""
        return self._exchange.url

    # -- who we are -----------------------------------------------------------------------------------------------

    def whoami(self) -> User:
        """Whose the key is.

        Raises:
            MapRouletteRefused: nobody's.
        """
        return User.of(self._exchange.read("/user/whoami"))

    # -- projects -------------------------------------------------------------------------------------------------

    def project_named(self, name: str) -> Project | None:
        """The project of exactly this name or displayed name; it may be a deleted one."""
        return self._maybe(lambda: Project.of(self._exchange.read(f"/projectByName/{segment(name)}")))

    def obtain_project(self, name: str, display_name: str, description: str) -> Project:
        """The project of this name, made if there is none.

        Raises:
            NameTaken: somebody has a project whose name differs in upper and lower case only, or it was deleted.
        """
        fields = {"name": name, "displayName": display_name, "description": description, "enabled": True}

        def find() -> Project | None:
            found = self.project_named(name)
            return None if found is None or found.name.lower() != name.lower() else found

        project = self._obtain(find, "/project", fields, Project.of, lambda: Project(self._make_up(), 0, name))
        if project.deleted:
            raise NameTaken(
                f"MapRoulette's project {name!r} was deleted, and keeps its name; set maproulette.project to another"
            )
        return project

    def update_project(self, project: int, fields: Mapping[str, Any]) -> None:
        self._exchange.write("PUT", f"/project/{project}", body=fields, again=True)

    # -- challenges -----------------------------------------------------------------------------------------------

    def challenges_of(self, project: int) -> list[Listed]:
        """All challenges of a project that are not deleted, disabled and archived ones among them."""
        if project < 0:
            return []
        query = {"projectIds": project, "limit": -1, "page": 0, "onlyEnabled": False}
        return each(self._exchange.read("/challenges/listing", query), Listed.of, "the list of challenges")

    def challenge(self, challenge: int) -> Challenge:
        """A challenge as it stands; it may be a deleted one.

        Raises:
            MapRouletteMissing: there is none.
        """
        return Challenge.of(self._existing(f"/challenge/{challenge}", challenge))

    def obtain_challenge(self, fields: Mapping[str, Any]) -> tuple[Challenge, bool]:
        """The challenge of `fields`' name in their parent, made if there is none; and whether it was made."""
        name, parent = str(fields["name"]), int(fields["parent"])
        made = True

        def find() -> Challenge | None:
            nonlocal made
            same = [one for one in self.challenges_of(parent) if one.name.lower() == name.lower()]
            made = not same
            return self.challenge(min(same, key=lambda one: one.id).id) if same else None

        challenge = self._obtain(
            find, "/challenge", fields, Challenge.of, lambda: Challenge(self._make_up(), name, parent)
        )
        return challenge, made

    def update_challenge(self, challenge: int, fields: Mapping[str, Any]) -> None:
        """Change what is named in `fields`; keywords are only added."""
        self._exchange.write("PUT", f"/challenge/{challenge}", body=fields, again=True)

    def archive_challenge(self, challenge: int, archived: bool) -> None:
        self._exchange.write("POST", f"/challenge/{challenge}/archive", body={"isArchived": archived}, again=True)

    def remove_keywords(self, challenge: int, keywords: Sequence[str]) -> None:
        self._exchange.write("DELETE", f"/challenge/{challenge}/tags", {"tags": ",".join(keywords)}, again=True)

    # -- tasks ----------------------------------------------------------------------------------------------------

    def task(self, task: int) -> Task:
        """A task as it stands.

        Raises:
            MapRouletteMissing: there is none.
        """
        return Task.of(self._existing(f"/task/{task}", task))

    def task_named(self, challenge: int, name: str) -> Task | None:
        """The task of exactly this name in a challenge."""
        if challenge < 0:
            return None
        return self._maybe(lambda: Task.of(self._exchange.read(f"/challenge/{challenge}/task/{segment(name)}")))

    def put_task(self, fields: Mapping[str, Any], known: int | None = None, *, looked_up: bool = False) -> Task:
        """Make a task, or send a task that exists anew what it shows; its status stays as it is.

        Args:
            fields: name, parent, geometries, and instruction and cooperativeWork if any: the server forgets those
                that are left out. Never a status.
            known: id of the task where it exists. Without it the task is looked up by name.
            looked_up: it was just now, and is not there.

        Returns:
            What the server echoes, status unknown.

        Raises:
            MapRouletteMissing: there is no such challenge.
            ChallengeFull: it has as many tasks as the server allows.
            MapRouletteInvalid: what is to be sent is wrong.
        """
        challenge, name = int(fields["parent"]), str(fields["name"])
        if known is None and not looked_up and (found := self.task_named(challenge, name)) is not None:
            known = found.id
        if self.dry_run:
            self._exchange.write("POST", "/task", body=fields)
            return Task(self._make_up() if known is None else known, name, challenge)
        try:
            task = Task.of(self._exchange.write("POST", "/task", body=fields))
        except MapRouletteUnavailable:  # it may be there; a second POST might make a second one
            found = self.task_named(challenge, name) if known is None else None
            if found is None:
                raise
            return found
        if known is not None and task.id != known:
            self._remove_namesakes(challenge, name, known)
            return self._put_over(known, fields)
        return task

    def set_task(
        self, task: int, status: Status, cooperative_work: Mapping[str, Any] | None, **fields: Any
    ) -> Task | None:
        """Give a task another status by right of ownership: no mapper is credited, no lock is minded.

        Args:
            status: another than it has; see the module.
            cooperative_work: what the task has; it is erased otherwise.
            fields: what else is to change, e.g. geometries.

        Returns:
            The task as the server answers it; None in a dry run.
        """
        body = {"status": int(status), **fields}
        if cooperative_work is not None:
            body["cooperativeWork"] = cooperative_work
        answer = self._exchange.write("PUT", f"/task/{task}", body=body, again=True)
        return None if answer is None else Task.of(answer)

    def complete_task(self, task: int, status: Status) -> None:
        """Give a task a status as a mapper does: it counts for the key's owner, and minds locks and progressions.

        Raises:
            TaskLocked: somebody else has it open.
            MapRouletteInvalid: its status does not allow this step.
        """
        self._exchange.write("PUT", f"/task/{task}/{int(status)}", {"requestReview": False})

    def delete_task(self, task: int) -> None:
        """Remove a task for good; one that is gone already is fine."""
        with suppress(MapRouletteMissing):
            self._exchange.write("DELETE", f"/task/{task}", again=True)

    def add_tasks(self, challenge: int, lines: Iterable[bytes], data_origin: datetime | None = None) -> None:
        """Upload tasks, each a line of ASCII JSON that may begin with a record separator.

        That it returns does not say that they are there, and that it fails not that none is.

        Raises:
            UploadTooLarge: more than 15 000 kB.
            ChallengeBusy: the challenge is being built or emptied.
            ChallengeFull: there would be more tasks than the server allows.
        """
        lines = [line.rstrip(b"\r\n") for line in lines]
        query = {
            "lineByLine": True, "removeUnmatched": False, "skipSnapshot": True,
            "dataOriginDate": None if data_origin is None else data_origin.isoformat(),
        }
        try:
            self._exchange.upload(f"/challenge/{challenge}/addFileTasks", query, b"\n".join(lines) + b"\n")
        except MapRouletteInvalid as error:
            standing = self.challenge(challenge)
            if standing.status in BUSY:
                raise ChallengeBusy(f"{error}; the challenge is being built or emptied") from None
            if standing.metrics.total + len(lines) > MOST_TASKS:
                raise ChallengeFull(f"{error}; the challenge has {standing.metrics.total} tasks") from None
            raise

    # -- locks ----------------------------------------------------------------------------------------------------

    @contextmanager
    def opened(self, task: int) -> Iterator[Task | None]:
        """Within it the task is open for us and for nobody else; one at a time, the others wait.

        Gives the task as the server answers it, None in a dry run.

        Raises:
            TaskLocked: somebody else has it open.
            MapRouletteMissing: there is no such task.
        """
        with self._exchange.lane:
            try:
                answer = self._start(task)
            except (MapRouletteUnavailable, ReplyInvalid):
                self._release_quietly(task)  # it may be open though we were not told so
                raise
            try:
                yield None if answer is None else Task.of(answer)
            finally:
                self._release_quietly(task)

    def release(self, task: int) -> None:
        """Close a task that is open for us; fine where it is not."""
        self._exchange.write("GET", f"/task/{task}/release", again=True)

    def _start(self, task: int) -> Any:
        path = f"/task/{task}/start"
        try:
            return self._exchange.write("GET", path, again=True)
        except LockConflict as conflict:  # left over from a crash
            if conflict.task is None or conflict.task == task:
                raise
            log.warning("task %d was still open; it is released", conflict.task)
            self.release(conflict.task)
            return self._exchange.write("GET", path, again=True)

    def _release_quietly(self, task: int) -> None:
        try:
            self.release(task)
        except (MapRouletteMissing, KeyRefused):  # gone; and a key that is refused is told of by the next call
            pass
        except MapRouletteError as error:
            log.warning("task %d stays open for an hour at most: %s", task, error)

    # -- what people say ------------------------------------------------------------------------------------------

    def marks(
        self,
        challenges: Sequence[int],
        *,
        statuses: Sequence[int] = tuple(Status),
        reviews: Sequence[int] | None = None,
        sort: str = "mappedOn",
        descending: bool = True,
        page_size: int = PAGE,
    ) -> Iterator[TaskMark]:
        """Tasks of challenges, page by page, those included that the server hides unless told not to: finished ones,
        those that somebody has open, those of archived challenges.

        What changes meanwhile moves tasks between pages: one may come twice, or not at all.

        Args:
            reviews: only tasks with a review in these statuses.
            sort: "mappedOn", "reviewedAt", "id", ...; the order of tasks without such a time is the server's.
        """
        known = [challenge for challenge in challenges if challenge > 0]
        page = 0
        while known:
            query = {
                "cid": _list(known), "tStatus": _list(statuses), "ca": True, "excludeLocked": True,
                "includeTags": True, "sort": sort, "order": "DESC" if descending else "ASC",
                "limit": page_size, "page": page, "trStatus": None if reviews is None else _list(reviews),
            }
            answer = self._exchange.read("/tasks/box/-180/-90/180/90", query, body={}, method="PUT")
            marks = each(answer, TaskMark.of, "a page of tasks")
            yield from marks
            if len(marks) < page_size:
                return
            page += 1

    def tasks(self, challenge: int, page_size: int = FULL_PAGE) -> Iterator[Task]:
        """All tasks of a challenge in full, in the order of their ids; slow for the server."""
        page = 0
        while challenge > 0:
            query = {"limit": page_size, "page": page}
            tasks = each(self._exchange.read(f"/challenge/{challenge}/tasks", query), Task.of, "a page of tasks")
            yield from tasks
            if len(tasks) < page_size:
                return
            page += 1

    def viewed(self, challenge: int, statuses: Sequence[int]) -> list[ViewedTask]:
        """The tasks of a challenge that have one of these statuses, each once, with what mappers said."""
        if challenge < 0:
            return []
        answer = self._exchange.read(f"/challenge/view/{challenge}", {"status": _list(statuses)})
        features = answer.get("features") if isinstance(answer, dict) else answer
        return list({one.id: one for one in each(features, ViewedTask.of, "the features of a challenge")}.values())

    def comments(self, challenge: int) -> list[Comment]:
        """All comments on the tasks of a challenge, in the order of their ids."""
        if challenge < 0:
            return []
        answer = self._exchange.read(f"/challenge/{challenge}/comments", {"limit": -1, "page": 0})
        return sorted(each(answer, Comment.of, "the comments of a challenge"), key=lambda one: one.id)

    def history(self, task: int) -> list[HistoryEntry]:
        """What happened to a task, in the order of time."""
        answer = self._existing(f"/task/{task}/history", task)
        return sorted(each(answer, HistoryEntry.of, "the history of a task"), key=lambda one: one.at)

    def change_file(self, task: int) -> bytes:
        """The osmChange document that an editor gets for a task."""
        if task < 0:
            raise MapRouletteMissing(f"task {task} was made up in a dry run")
        return self._exchange.read_text(f"/task/{task}/cooperative/change/{task}.osc")

    # -- how it is done -------------------------------------------------------------------------------------------

    def _obtain(
        self,
        find: Callable[[], Any],
        path: str,
        fields: Mapping[str, Any],
        of: Callable[[Any], Any],
        made_up: Callable[[], Any],
    ) -> Any:
        """What `find` finds, or else what a POST makes: never two of it, whatever becomes of the answers."""
        found = find()
        if found is not None:
            return found
        try:
            answer = self._exchange.write("POST", path, body=fields)
        except (NameTaken, MapRouletteUnavailable) as error:
            found = find()
            if found is None:
                raise
            log.info("%s was made already: %s", fields["name"], error)
            return found
        return made_up() if answer is None else of(answer)

    def _remove_namesakes(self, challenge: int, name: str, keep: int) -> None:
        log.warning("MapRoulette lacks its unique index: an update of task %d made a second one; removed", keep)
        for mark in list(self.marks([challenge], sort="id")):
            if mark.name == name and mark.id != keep:
                self.delete_task(mark.id)

    def _put_over(self, task: int, fields: Mapping[str, Any]) -> Task:
        """Send a task anew what it shows by its id; not where that might change a mapper's status."""
        standing = self.task(task)
        if standing.status is not Status.CREATED:
            log.info("task %d keeps what it shows: it is not as it was made", task)
            return standing
        content = {key: value for key, value in fields.items() if key in ("geometries", "instruction")}
        return self.set_task(task, Status.CREATED, fields.get("cooperativeWork"), **content) or standing

    def _existing(self, path: str, number: int) -> Any:
        if number < 0:
            raise MapRouletteMissing(f"{path} was made up in a dry run")
        answer = self._exchange.read(path)
        if answer is None:
            raise MapRouletteMissing(f"MapRoulette, GET {path}: an empty answer")
        return answer

    def _maybe(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except MapRouletteMissing:
            return None

    def _make_up(self) -> int:
        self._made_up -= 1
        return self._made_up


def _list(numbers: Iterable[int]) -> str:
    return ",".join(str(int(number)) for number in numbers)
