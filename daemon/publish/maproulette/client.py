"""Client: what changes something on MapRoulette's server, and all that can be read there (reader.py).

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
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from daemon.publish.maproulette.exchange import Exchange, Rehearsal
from daemon.publish.maproulette.members import may
from daemon.publish.maproulette.reader import MOST_TASKS, Reader
from daemon.publish.maproulette.replies import BUSY, Challenge, Project, Status, Task

log = logging.getLogger(__name__)


class Client(Reader):
    """The API of one server for the owner of one key. Safe to share between threads.

    In a dry run nothing that changes anything is sent, and what would be made gets a negative id, by which nothing
    can be read.
    """

    def __init__(self, exchange: Exchange):
        super().__init__(exchange)
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

    # -- projects -------------------------------------------------------------------------------------------------

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

    # -- challenges -----------------------------------------------------------------------------------------------

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

    # -- tasks ----------------------------------------------------------------------------------------------------

    def put_task(self, fields: Mapping[str, Any], known: int | None = None, *, looked_up: bool = False) -> Task:
        """Make a task, or send a task that exists anew what it shows; its status stays as it is.

        Args:
            fields: name, parent, geometries, and instruction and cooperativeWork if any: the server forgets those
                that are left out. Never a status.
            known: id of the task where it exists. Without it the task is looked up by name.
            looked_up: it was just now, and is not there.

        Returns:
            Its id, name and challenge; the server does not say which status it has.

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
            answer = self._exchange.write("POST", "/task", body=fields)
        except (MapRouletteUnavailable, ReplyInvalid):  # it may be there; a second POST might make a second one
            found = self.task_named(challenge, name) if known is None else None
            if found is None:
                raise
            return found
        made = may(answer, "id", int) if isinstance(answer, dict) else None
        if made is None:
            found = self.task_named(challenge, name)
            if found is None:
                raise ReplyInvalid(f"MapRoulette, POST /task: says that {name} was made, and there is no such task")
            made = found.id
        if known is not None and made != known:
            self._remove_namesakes(challenge, name, known)
            return self._put_over(known, fields)
        return Task(made, name, challenge)

    def set_task(self, task: int, status: Status, cooperative_work: Mapping[str, Any] | None, **fields: Any) -> None:
        """Give a task another status by right of ownership: no mapper is credited, no lock is minded.

        Args:
            status: another than it has; see the module.
            cooperative_work: what the task has; it is erased otherwise.
            fields: what else is to change, e.g. geometries.
        """
        body = {"status": int(status), **fields}
        if cooperative_work is not None:
            body["cooperativeWork"] = cooperative_work
        self._exchange.write("PUT", f"/task/{task}", body=body, again=True)

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
                yield None if self.dry_run else self._as_opened(task, answer)
            finally:
                self._release_quietly(task)

    def _as_opened(self, task: int, answer: Any) -> Task:
        """The task that was opened, read once more where the answer does not say how it stands."""
        opened = None if answer is None else Task.of(answer)
        return self.task(task) if opened is None or opened.status is None else opened

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
        """Those that nobody has judged; what a mapper said of one is heard, and it is withdrawn by the comparison."""
        log.warning("MapRoulette lacks its unique index: an update of task %d made a second one; removed", keep)
        for mark in list(self.all_marks(challenge)):
            if mark.name == name and mark.id != keep and mark.status is Status.CREATED:
                self.delete_task(mark.id)

    def _put_over(self, task: int, fields: Mapping[str, Any]) -> Task:
        """Send a task anew what it shows by its id; not where that might change a mapper's status."""
        standing = self.task(task)
        if standing.status is not Status.CREATED:
            log.info("task %d keeps what it shows: it is not as it was made", task)
            return standing
        content = {key: value for key, value in fields.items() if key in ("geometries", "instruction")}
        self.set_task(task, Status.CREATED, fields.get("cooperativeWork"), **content)
        return standing

    def _make_up(self) -> int:
        self._made_up -= 1
        return self._made_up
