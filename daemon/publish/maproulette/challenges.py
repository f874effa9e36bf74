"""The challenges of one project: found or made, kept as they are configured, filled and then shown, one after another.

A challenge is made disabled, marked ready (a challenge without any status would be stuck for ever when somebody empties
it), filled, and only then shown. One that exists under its name is taken over, also after all that was known of it got
lost. What the server archives because nobody touched it for half a year is taken out of the archive.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config
from daemon.db import Database
from daemon.discrepancies.model import utc
from daemon.errors import MapRouletteInvalid, MapRouletteMissing, TaskLocked
from daemon.exporting import context_of
from daemon.publish.feed import ExportContext
from daemon.publish.maproulette.basemap import Basemap, basemaps_of, choices, count_sources
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.cooperative import CHANGE_FILE
from daemon.publish.maproulette.records import (
    ChallengeRow,
    Step,
    forget_challenge,
    intend_challenge,
    move_intended,
    pause_challenge,
    read_challenges,
    read_server,
    set_challenge,
    set_opened,
    set_project,
    set_server,
)
from daemon.publish.maproulette.replies import BUSY, Challenge, ChallengeStatus
from daemon.publish.maproulette.settings import Group, differing, digest_of, name_of, settings_of
from daemon.publish.maproulette.tasks import Content

log = logging.getLogger(__name__)

#: How often it is looked whether the server has archived a challenge.
ARCHIVE_CHECK = timedelta(days=7)
#: The time of the map's data, as mappers are told it, is brought up to date after so long, where tasks were added.
DATA_ORIGIN_AGE = timedelta(days=1)
#: Ways of cooperating that challenges are made for.
WAYS = (0, CHANGE_FILE)


@dataclass(frozen=True, slots=True)
class Challenges:
    """What the server has of ours. Everything known is in the database.

    Attributes:
        context: whose imagery it is, and what people are told of each kind of claim.
        basemaps: what each source of imagery is as a basemap.
    """

    client: Client
    db: Database
    config: Config
    context: ExportContext
    basemaps: Mapping[str, Basemap]

    @classmethod
    def of(cls, client: Client, db: Database, config: Config) -> Challenges:
        """As configured."""
        return cls(client, db, config, context_of(config), basemaps_of(config))

    def rows(self) -> list[ChallengeRow]:
        """All that are known."""
        with self.db.transaction() as cursor:
            return read_challenges(cursor)

    def find_project(self, *, ask: bool) -> tuple[int, bool]:
        """The server's id of the project, found or made, and whether it is another than before.

        Whatever was known of another server or project is forgotten.

        Args:
            ask: whether the server still has the one that is known.

        Raises:
            MapRouletteError: it can neither be found nor made.
        """
        knobs = self.config.maproulette
        with self.db.transaction() as cursor:
            server = read_server(cursor)
            if server is None or (server.url, server.project) != (self.client.url, knobs.project):
                set_server(cursor, self.client.url, knobs.project)
                server = None
        if server is not None and server.project_id is not None:
            there = self.client.project(server.project_id) if ask else None
            if not ask or (there is not None and not there.deleted):
                return server.project_id, False
            log.warning("project %s is gone from the server; all of it begins anew", knobs.project)
            with self.db.transaction() as cursor:
                set_server(cursor, self.client.url, knobs.project)
        project = self.client.obtain_project(knobs.project, knobs.project, "; ".join(self.context.attributions))
        with self.db.transaction() as cursor:
            set_project(cursor, project.id)
        return project.id, True

    def release_stray(self) -> None:
        """Let go of the task that was open when this program was killed."""
        with self.db.transaction() as cursor:
            server = read_server(cursor)
        if server is not None and server.opened is not None:
            try:
                self.client.release(server.opened)
            except (MapRouletteMissing, MapRouletteInvalid, TaskLocked) as error:
                log.info("task %d, open when the program ended, is not open any more: %s", server.opened, error)
            with self.db.transaction() as cursor:
                set_opened(cursor, None)

    def adopt(self, project: int, now: datetime) -> list[ChallengeRow]:
        """Take over those of the project's challenges that bear our names and are not known; returns them."""
        listed = {one.name.lower(): one for one in sorted(self.client.challenges_of(project), key=lambda one: -one.id)}
        known = {(row.group, row.part) for row in self.rows() if row.remote is not None}
        adopted = []
        for group in self._groups():
            for part, name in self._parts(group, listed):
                if (group, part) not in known:
                    adopted.append(self._take_over(group, part, self.client.challenge(listed[name].id), now))
        return adopted

    def place(self, cursor: Cursor, group: Group, wanted: int) -> Sequence[tuple[ChallengeRow, int]]:
        """Challenges that will take so many new tasks of a group, and how many each; none where the group is paused."""
        rows = [row for row in read_challenges(cursor) if row.group == group]
        if any(row.paused for row in rows):
            return []
        most, places = self.config.maproulette.tasks_most, []
        for row in rows[-1:]:
            if (free := min(most - row.size, wanted)) > 0:
                places.append((row, free))
                wanted -= free
        part = rows[-1].part + 1 if rows else 1
        while wanted > 0:
            row = self._intend(cursor, group, part)
            places.append((row, min(most, wanted)))
            wanted -= min(most, wanted)
            part += 1
        return places

    def overflow(self, row: ChallengeRow) -> None:
        """A challenge takes no more tasks: those that were about to be made in it go into the next part."""
        log.info("challenge %s is full", row.name)
        with self.db.transaction() as cursor:
            last = [other for other in read_challenges(cursor) if other.group == row.group][-1]
            target = self._intend(cursor, row.group, row.part + 1) if last.id == row.id else last
            set_challenge(cursor, replace(row, total=max(row.total, self.config.maproulette.tasks_most)))
            move_intended(cursor, row.id, target.id)

    def make(self, row: ChallengeRow, project: int, data_time: datetime | None, now: datetime) -> ChallengeRow:
        """Have a challenge on the server, marked ready, so that it can be filled."""
        if row.remote is None:
            settings = self._settings(row)[0]
            told = {} if data_time is None else {"dataOriginDate": utc(data_time)}
            fields = {**settings, **told, "parent": project, "enabled": False}
            challenge, made = self.client.obtain_challenge(fields)
            if made:
                row = replace(
                    row, remote=challenge.id, step=Step.MADE, digest=digest_of(settings), name=challenge.name,
                    data_origin=data_time, checked=now,
                )
                self._keep(row)
                log.info("challenge %d made: %s", challenge.id, row.name)
            else:
                row = self._take_over(row.group, row.part, challenge, now)
        return self._mark_ready(row)

    def show(self) -> None:
        """Let people see the challenges that have been filled."""
        for row in self.rows():
            if row.remote is not None and row.known and row.step is not Step.OPEN and not row.paused:
                row = self._mark_ready(row)
                self.client.update_challenge(_id(row), {"enabled": True})
                self._keep(replace(row, step=Step.OPEN))
                log.info("challenge %s is open to mappers", row.name)

    def _mark_ready(self, row: ChallengeRow) -> ChallengeRow:
        if row.step is Step.MADE:
            self.client.update_challenge(_id(row), {"status": int(ChallengeStatus.READY)})
            row = replace(row, step=Step.READY)
            self._keep(row)
        return row

    def rehearse(self, group: Group, contents: Sequence[Content], sources: Mapping[str, int]) -> None:
        """In a dry run: say which challenge would be made, or is there, and which tasks would be made in it.

        Args:
            sources: how many of them were seen on which source of imagery.
        """
        name = self.config.maproulette.project
        project = self.client.obtain_project(name, name, "; ".join(self.context.attributions))
        settings = settings_of(group, 1, self.context, self.config, choices(self.basemaps, sources)[0])
        fields = {**settings, "parent": project.id, "enabled": False}
        challenge, _ = self.client.obtain_challenge(fields)
        log.info("%d tasks would be made in challenge %s", len(contents), settings["name"])
        for content in contents:
            self.client.put_task(content.body(challenge.id), looked_up=True)

    def keep_settings(self, rows: Iterable[ChallengeRow]) -> None:
        """Bring those up to date whose settings are not as configured (any more)."""
        for row in rows:
            if row.remote is None:
                continue
            able = self._settings(row)
            if row.digest in map(digest_of, able):
                continue
            settings = news = able[0]
            if row.digest is None:
                there = self.client.challenge(row.remote).fields
                settings, news = min(((s, differing(s, there)) for s in able), key=lambda one: len(one[1]))
            if news:
                self.client.update_challenge(row.remote, news)
            self._keep(replace(row, digest=digest_of(settings), name=settings["name"]))

    def _settings(self, row: ChallengeRow) -> list[dict[str, Any]]:
        """What a challenge may look like, as it should best first."""
        sources: Mapping[str, int] = {}
        if len({tuple(sorted(basemap.items())) for basemap in self.basemaps.values()}) > 1:
            with self.db.transaction() as cursor:
                sources = count_sources(cursor, row.id)
        return [
            settings_of(row.group, row.part, self.context, self.config, basemap)
            for basemap in choices(self.basemaps, sources)
        ]

    def tell_data_time(self, row: ChallengeRow, data_time: datetime | None) -> None:
        """Let mappers know how old the map was that new tasks were compared with; not more often than once a day."""
        if data_time is None or (row.data_origin is not None and data_time - row.data_origin < DATA_ORIGIN_AGE):
            return
        self.client.update_challenge(_id(row), {"dataOriginDate": utc(data_time)})
        self._keep(replace(row, data_origin=data_time))

    def check(self, rows: Iterable[ChallengeRow], now: datetime) -> None:
        """Once a week: take out of the archive what the server put there, forget what it has no more, mend a status."""
        for row in rows:
            if row.remote is None or (row.checked is not None and now - row.checked < ARCHIVE_CHECK):
                continue
            if (challenge := self.find(row)) is None:
                continue
            if challenge.archived:
                self.client.archive_challenge(row.remote, False)
                log.info("challenge %s was archived; it is back", row.name)
            self.mend(row, challenge)
            self._keep(replace(row, checked=now, total=challenge.metrics.total or row.total))

    def find(self, row: ChallengeRow) -> Challenge | None:
        """A challenge as the server has it; None where it was deleted there, and is forgotten here."""
        try:
            challenge = self.client.challenge(_id(row))
        except MapRouletteMissing:
            challenge = None
        if challenge is not None and not challenge.deleted:
            return challenge
        log.warning("challenge %s was deleted on the server; its tasks begin anew", row.name)
        with self.db.transaction() as cursor:
            forget_challenge(cursor, row.id)
        return None

    def mend(self, row: ChallengeRow, challenge: Challenge) -> None:
        """A challenge that failed to load once, or was finished, and has tasks by now, is a sound one."""
        sound = {ChallengeStatus.READY, *BUSY}
        if challenge.status is ChallengeStatus.FINISHED and challenge.metrics.available == 0:
            return
        if challenge.status not in sound and row.step is not Step.MADE:
            log.info("challenge %s is marked ready; it said: %s", row.name, challenge.status_message or "nothing")
            self.client.update_challenge(challenge.id, {"status": int(ChallengeStatus.READY)})

    def _groups(self) -> list[Group]:
        return [Group(detector, kind, way) for detector, kind in self.context.kinds for way in WAYS]

    def _parts(self, group: Group, names: Iterable[str]) -> list[tuple[int, str]]:
        """(part, name) of those of the names (in lower case) that are a group's challenges."""
        first = name_of(group, 1, self.context).lower()
        parts = []
        for name in names:
            number = name.removeprefix(f"{first}, part ") if name.startswith(f"{first}, part ") else ""
            if name == first or number.isdecimal():
                parts.append((int(number or 1), name))
        return sorted(parts)

    def _intend(self, cursor: Cursor, group: Group, part: int) -> ChallengeRow:
        intend_challenge(cursor, group, part, name_of(group, part, self.context))
        return next(row for row in read_challenges(cursor) if (row.group, row.part) == (group, part))

    def _take_over(self, group: Group, part: int, challenge: Challenge, now: datetime) -> ChallengeRow:
        with self.db.transaction() as cursor:
            row = self._intend(cursor, group, part)
        step = Step.MADE if challenge.status is ChallengeStatus.NONE else Step.READY
        if challenge.metrics.total or (challenge.enabled and step is Step.READY):
            step = Step.OPEN  # one with tasks that is hidden was hidden by somebody, and stays so
        row = replace(
            row, remote=challenge.id, step=step, digest=None, name=challenge.name, total=challenge.metrics.total,
            data_origin=challenge.data_origin, checked=None,
        )
        with self.db.transaction() as cursor:
            set_challenge(cursor, row)
            if challenge.paused and row.paused is None:
                pause_challenge(cursor, row.id, "it was paused when it was found on the server", now)
        log.info("challenge %d was there already: %s", challenge.id, row.name)
        return row

    def _keep(self, row: ChallengeRow) -> None:
        with self.db.transaction() as cursor:
            set_challenge(cursor, row)


def _id(row: ChallengeRow) -> int:
    assert row.remote is not None, "asked for the id of a challenge that is not on the server"
    return row.remote
