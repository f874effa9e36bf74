"""MapRoulette as a channel: one round tells the server what changed in the ledger, and hears what its mappers say.

    ready       the project and its challenges are there, and as configured
    listen      verdicts of mappers -> the ledger (listening.py); challenges with too many false ones pause (gate.py)
    choose      what is shown and has no task yet, as many as people can bear -> intentions (daemon/reviews/ranking)
    tell        what waits in the outbox -> new tasks (filling.py), and tasks kept true (upkeep.py)
    compare     once a day, everything that is known -> held against the server (comparison.py)

Each step may be killed anywhere: what it had not committed is done again, and nothing is made twice.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config
from daemon.current_map import CurrentMap
from daemon.db import Database, query
from daemon.discrepancies.life import close
from daemon.discrepancies.model import ClosedAs, Discrepancy, State
from daemon.errors import ChallengeBusy, ChallengeFull, KeyRefused, MapRouletteMissing
from daemon.publish import outbox
from daemon.publish.maproulette.caps import room_for
from daemon.publish.maproulette.challenges import Challenges
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.comparison import Comparison
from daemon.publish.maproulette.filling import SETTLE, Filling
from daemon.publish.maproulette.gate import Gate
from daemon.publish.maproulette.listening import Listener
from daemon.publish.maproulette.records import (
    ChallengeRow,
    TaskRow,
    forget_challenge,
    intend_tasks,
    outdated,
    read_challenges,
    read_server,
    set_compared,
    try_tasks,
)
from daemon.publish.maproulette.replies import Status
from daemon.publish.maproulette.settings import Group
from daemon.publish.maproulette.tasks import contents_of, ways_of
from daemon.publish.maproulette.upkeep import Upkeep
from daemon.publish.maproulette.waiting import CHANNEL, Waiting, read_waiting, rest_until
from daemon.publish.maproulette.wishes import step_to, wanted_status
from daemon.publish.outbox import Due
from daemon.reviews.ranking import Candidate, choose

log = logging.getLogger(__name__)

#: Rows of the outbox that are read in one go.
PORTION = 5000
#: Tasks that are kept true in one round; each costs three requests.
KEPT_AT_ONCE = 100
#: Discrepancies among which is chosen.
CANDIDATES = 20_000
#: How often everything is held against the server.
COMPARED_EVERY = timedelta(days=1)


class MapRouletteChannel:
    """Fulfils `daemon.publish.channels.Channel`.

    Args:
        clock: the current time, with a time zone.
        rng: draws what is shown.
    """

    name = CHANNEL

    def __init__(
        self, client: Client, db: Database, config: Config, current_map: CurrentMap, stop: threading.Event, *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC), rng: random.Random | None = None,
    ):
        self._knobs = config.maproulette
        self.interval = self._knobs.interval
        self._client = client
        self._db = db
        self._config = config
        self._map = current_map
        self._stop = stop
        self._clock = clock
        self._rng = rng or random.Random()
        self._challenges = Challenges.of(client, db, config)
        self._filling = Filling(client, db, self._knobs, stop)
        self._upkeep = Upkeep(client, db)
        self._comparison = Comparison(
            client, db, self._challenges.context, move_nodes=self._knobs.move_nodes
        )
        self._listener = Listener(client, db, current_map, config.reviews, stop)
        self._gate = Gate(client, db, self._knobs)
        self._started = clock()
        self._is_ready = False
        self._refused: KeyRefused | None = None
        self._rehearsed: set[str] = set()
        self._sequence: int | None = None  # of the change file for which elements were last found outdated

    @classmethod
    def open(
        cls, config: Config, db: Database, current_map: CurrentMap, stop: threading.Event, resources: ExitStack
    ) -> MapRouletteChannel:
        """As configured; its connections are closed with `resources`. Nothing is asked yet.

        Raises:
            ConfigError: there is no API key.
        """
        dry_run = config.maproulette.dry_run or config.publish.dry_run
        knobs = config.maproulette.model_copy(update={"dry_run": dry_run})
        client = Client.open(knobs, config.client.contact, stop, resources)
        return cls(client, db, config, current_map, stop)

    def cycle(self) -> bool:
        """One round; True where there is more to tell at once.

        Raises:
            MapRouletteError: the server cannot be reached, refuses, or says what nobody understands; what could not be
                told waits in the outbox.
        """
        now = self._clock()
        try:
            return self._rehearse(now) if self._client.dry_run else self._round(now)
        except KeyRefused as error:  # told in the same words until the answer is another one
            self._is_ready = False
            self._refused = self._refused or error
            raise self._refused from None

    def _round(self, now: datetime) -> bool:
        project = self._ready(now)
        self._listener.listen(now)
        self._gate.watch(now)
        self._choose(now)
        more = self._tell(project, now)
        if not more:
            self._compare(now)
        return more and not self._stop.is_set()

    # -- ready ----------------------------------------------------------------------------------------------------

    def _ready(self, now: datetime) -> int:
        """The server's id of the project, with all that is ours in it known and as configured."""
        with self._db.transaction() as cursor:
            outbox.open_channel(cursor, CHANNEL, now)
        if not self._is_ready:  # before anything else: without a good key nothing but this is asked
            user = self._client.whoami()
            log.info("MapRoulette at %s knows us as %s", self._client.url, user.name or f"user {user.id}")
            self._listener.bot, self._refused = user.id, None
        project, is_new = self._challenges.find_project(ask=not self._is_ready)
        self._challenges.release_stray()
        if is_new or not self._is_ready:
            for row in self._challenges.adopt(project, now):
                self._comparison.compare(row, now)
            for row in self._challenges.rows():
                if row.remote is not None and row.known < row.total:
                    self._comparison.compare(row, now)
            self._is_ready = True
        self._challenges.check(self._challenges.rows(), now)
        self._challenges.keep_settings(self._challenges.rows())
        return project

    # -- choose ---------------------------------------------------------------------------------------------------

    def _choose(self, now: datetime) -> None:
        """Of what is shown and has no task yet, let the best have one: note the choice and the intention."""
        with self._db.transaction() as cursor:
            chosen = self._chosen(cursor, now)
            wrong = self._map.no_longer_hold(cursor, chosen)
            close(cursor, sorted(wrong), ClosedAs.FIXED, now=now, detail={"by": "publishing"})
            chosen = [d for d in chosen if d.key not in wrong]
            for group, keys in self._grouped(cursor, chosen).items():
                for row, number in self._challenges.place(cursor, group, len(keys)):
                    portion, keys = keys[:number], keys[number:]
                    outbox.note(cursor, CHANNEL, portion, now)
                    intend_tasks(cursor, row.id, portion, now)

    def _chosen(self, cursor: Cursor, now: datetime) -> list[Discrepancy]:
        if room_for(cursor, [], self._knobs, now).today == 0:
            return []
        paused = {(row.group.detector, row.group.kind) for row in read_challenges(cursor) if row.paused}
        kinds = [kind for kind in self._challenges.context.kinds if kind not in paused]
        states = [State.PUBLISHED, State.OPEN] if self._config.publish.dry_run else [State.PUBLISHED]
        cursor.execute(query("maproulette_candidates"), {
            "states": states, "min_confidence": self._config.publish.min_confidence, "now": now, "limit": CANDIDATES,
            "detectors": [detector for detector, _ in kinds], "kinds": [kind for _, kind in kinds],
        })
        found = {d.key: d for d in map(Discrepancy.of, cursor.fetchall())}
        candidates = [Candidate.of(d) for d in found.values()]
        room = room_for(cursor, candidates, self._knobs, now)
        half_life = timedelta(days=self._config.reviews.half_life)
        chosen = choose(cursor, candidates, room.today, now, self._rng, rooms=room.areas, half_life=half_life)
        return [found[one.key] for one in chosen]

    def _grouped(self, cursor: Cursor, chosen: Sequence[Discrepancy]) -> dict[Group, list[str]]:
        ways = ways_of(cursor, chosen, change_files=self._knobs.change_files, move_nodes=self._knobs.move_nodes)
        groups: dict[Group, list[str]] = defaultdict(list)
        for one in chosen:
            groups[Group(one.detector, one.kind, ways[one.key])].append(one.key)
        return groups

    # -- tell -----------------------------------------------------------------------------------------------------

    def _tell(self, project: int, now: datetime) -> bool:
        """Tell what waits; True where more is waiting, and some of this was told."""
        with self._db.transaction() as cursor:
            self._note_outdated(cursor, now)
            dues = outbox.due(cursor, CHANNEL, now, PORTION)
            challenges = {row.id: row for row in read_challenges(cursor)}
            context = self._challenges.context
            waiting = read_waiting(
                cursor, dues, list(challenges.values()), context, move_nodes=self._knobs.move_nodes
            )
            keys = {one.due.key for one in waiting}
            without = [due for due in dues if due.key not in keys]
            if without:
                outbox.told(cursor, CHANNEL, without)
        there = [one for one in waiting if one.row.remote is not None]
        new: dict[int, list[Waiting]] = defaultdict(list)
        for one in waiting:
            if one.row.remote is None and not self._is_unsettled(one.row, now):
                new[one.row.challenge].append(one)
        adopted = False
        for id_, portion in new.items():
            if self._stop.is_set():
                return False
            adopted = self._fill(project, challenges[id_], portion, now) or adopted
        for one in there[:KEPT_AT_ONCE]:
            if self._stop.is_set():
                return False
            self._upkeep.keep(challenges[one.row.challenge], one, now)
        self._challenges.show()
        return adopted or len(there) > KEPT_AT_ONCE or (len(dues) == PORTION and bool(new or there or without))

    def _is_unsettled(self, row: TaskRow, now: datetime) -> bool:
        """Whether a run before this one asked for a task so lately that the server may still be at it."""
        return row.tried is not None and row.tried <= self._started and now - row.tried < SETTLE

    def _note_outdated(self, cursor: Cursor, now: datetime) -> None:
        """After each change file: tasks that show elements of the map that have another version now."""
        position = self._map.store.position(cursor)
        sequence = position.sequence if position else None
        if sequence is None or sequence != self._sequence:
            if keys := outdated(cursor):
                outbox.note(cursor, CHANNEL, keys, now)
            self._sequence = sequence

    def _fill(self, project: int, row: ChallengeRow, waiting: Sequence[Waiting], now: datetime) -> bool:
        """Make the tasks of one challenge that are still wanted; whether some were there already."""
        adopted = False
        data_time = self._data_time()
        wanted, unwanted = [], []
        for one in waiting:
            (wanted if wanted_status(one.discrepancy, now) is Status.CREATED else unwanted).append(one)
        try:
            for one in unwanted:
                adopted = self._filling.clear(row, one, now) or adopted
            if not wanted:
                return adopted
            row = self._challenges.make(row, project, data_time, now)
            with self._db.transaction() as cursor:
                try_tasks(cursor, [one.due.key for one in wanted], now)
            adopted = self._filling.fill(row, wanted, data_time, now) or adopted
        except ChallengeFull:
            self._challenges.overflow(row)
        except ChallengeBusy as error:
            self._put_off([one.due for one in waiting], str(error), now)
        except MapRouletteMissing as error:
            log.warning("challenge %s is gone from the server; it begins anew: %s", row.name, error)
            with self._db.transaction() as cursor:
                forget_challenge(cursor, row.id)
        else:
            row = next(other for other in self._challenges.rows() if other.id == row.id)
            self._challenges.tell_data_time(row, data_time)
        return adopted

    def _put_off(self, dues: Sequence[Due], error: str, now: datetime) -> None:
        with self._db.transaction() as cursor:
            outbox.postpone(cursor, CHANNEL, dues, error, rest_until(dues[0], now))

    def _data_time(self) -> datetime | None:
        with self._db.transaction() as cursor:
            position = self._map.store.position(cursor)
        return position.timestamp if position else None

    # -- compare --------------------------------------------------------------------------------------------------

    def _compare(self, now: datetime) -> None:
        with self._db.transaction() as cursor:
            server = read_server(cursor)
        if server is None or (server.compared is not None and now - server.compared < COMPARED_EVERY):
            return
        for row in self._challenges.rows():
            if self._stop.is_set():
                return
            if row.remote is None:
                continue
            if (challenge := self._challenges.find(row)) is None:
                continue
            if differing := self._comparison.compare(row, now):
                log.info("%s: %d tasks are not as the ledger wants them", row.name, differing)
            self._challenges.mend(row, challenge)
        with self._db.transaction() as cursor:
            set_compared(cursor, now)

    # -- dry run --------------------------------------------------------------------------------------------------

    def _rehearse(self, now: datetime) -> bool:
        """Write to the log what would be sent, each thing once a run, and keep nothing of it."""
        with self._db.transaction() as cursor:
            chosen = self._chosen(cursor, now)
            groups = self._grouped(cursor, chosen)
            ways = {key: group.way for group, keys in groups.items() for key in keys}
            context, move_nodes = self._challenges.context, self._knobs.move_nodes
            contents = contents_of(cursor, [(d, ways[d.key]) for d in chosen], context, move_nodes=move_nodes)
            dues = outbox.due(cursor, CHANNEL, now, PORTION)
            waiting = read_waiting(cursor, dues, read_challenges(cursor), context, move_nodes=move_nodes)
            cursor.connection.rollback()
        for group, keys in groups.items():
            news = [contents[key] for key in keys if contents[key].digest not in self._rehearsed]
            if news:
                sources = Counter(str(d.evidence.get("imagery")) for d in chosen if d.key in keys)
                self._challenges.rehearse(group, news, sources)
                self._rehearsed.update(content.digest for content in news)
        for one in waiting:
            step = step_to(wanted_status(one.discrepancy, now), one.row)
            if step is not None and one.row.remote is not None and f"{one.due.key} {step}" not in self._rehearsed:
                self._client.set_task(one.row.remote, step, one.content.work)
                self._rehearsed.add(f"{one.due.key} {step}")
        return False
