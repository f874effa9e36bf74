"""Sweeps: looking at a whole area once, though it has more tiles than the queue should hold.

    planned   the area's cells, ordered by the age of what is mapped there, in one transaction
    advanced  cells whose tiles are all looked at are done; the next ones go into the queue, while it is short
    done      when no cell is left

All state is in the database: a sweep that was killed goes on where it was. Its tiles wait behind those of change files,
whose reason comes first in the queue. What was looked at since the sweep began, for whatever reason, is not looked at
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice, pairwise
from statistics import median
from typing import Any, Literal

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.config import Tiling
from daemon.db import query
from daemon.tiling.cells import CELL_SIDE, Cell
from daemon.tiling.queue import mark_dirty

#: Cells that are read, or written, at once.
CELLS_AT_ONCE = 64
CELLS_WRITTEN_AT_ONCE = 10_000
#: So many tiles put into the queue at once are worth new statistics of it.
ANALYSE_FROM = 2_000
#: Measurements of progress that an estimate rests upon.
RECENT = 60


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep, as the database has it.

    Attributes:
        reason: "backfill", or "imagery" for what new imagery covers.
        source: the imagery that arrived, None for a back-fill.
        area: what it was planned for.
        state: running, stopped, done or replaced.
        known_only: leaves out tiles that were never looked at.
        still_good: leaves out tiles judged since then with `source` of its present day.
        blank_since: leaves out tiles that were found without imagery since then.
        cells, tiles: how many there are; `cells_done` and `tiles_done` of them are finished, `cells_blank` are the
            finished ones without imagery.
        recent: (seconds since 1970, tiles looked at by then), the latest last.
    """

    id: int
    reason: Literal["backfill", "imagery"]
    source: str | None
    zoom: int
    area: Any
    state: Literal["running", "stopped", "done", "replaced"]
    started: datetime
    ended: datetime | None
    known_only: bool
    still_good: datetime | None
    blank_since: datetime | None
    cells: int
    cells_done: int
    cells_blank: int
    tiles: int
    tiles_done: int
    recent: Sequence[tuple[float, int]]

    @property
    def name(self) -> str:
        """For people."""
        return "back-fill" if self.source is None else f"imagery {self.source}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done, total: tiles.
        queued: how many tiles of it wait in the queue.
        seconds_left: an estimate, from the median speed of late; None while nothing is known.
    """

    done: int
    total: int
    queued: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep is to look at; see `Sweep` for the attributes they share."""

    cells: Iterable[Cell]
    area: Any
    reason: Literal["backfill", "imagery"] = "backfill"
    source: str | None = None
    known_only: bool = False
    still_good: datetime | None = None
    blank_since: datetime | None = None


def begin_sweep(cursor: Cursor, plan: Plan, config: Tiling, now: datetime) -> Sweep:
    """Write a sweep down, in the caller's transaction."""
    cursor.execute(query("add_sweep"), {
        "reason": plan.reason, "source": plan.source, "z": config.zoom, "side": CELL_SIDE,
        "area": json.dumps(plan.area), "now": now, "known_only": plan.known_only, "still_good": plan.still_good,
        "blank_since": plan.blank_since,
    })
    (number,) = cursor.fetchone()
    rest = iter(plan.cells)
    while cells := list(islice(rest, CELLS_WRITTEN_AT_ONCE)):
        bits = [cell.packed() for cell in cells]
        cursor.execute(query("add_cells"), {
            "sweep": number, "xs": [c.x for c in cells], "ys": [c.y for c in cells],
            "tiles": [c.count for c in cells], "masks": [None if one is None else one.hex() for one in bits],
        })
    cursor.execute(query("analyse_cells"))
    cursor.execute(query("order_cells"), {"sweep": number, "z": config.zoom, "side": CELL_SIDE})
    cursor.execute(query("count_cells"), {"sweep": number})
    cursor.execute(query("end_if_done"), {"sweep": number, "now": now})
    return next(sweep for sweep in read_sweeps(cursor) if sweep.id == number)


def read_sweeps(cursor: Cursor) -> list[Sweep]:
    """The newest sweep of each kind and source: open ones first, the more urgent first."""
    cursor.execute(query("sweeps"))
    return [Sweep(*row) for row in cursor.fetchall()]


def advance_sweep(
    cursor: Cursor, sweep: Sweep, config: Tiling, now: datetime, order: Mapping[str, date | None] | None = None
) -> int:
    """Tick off the cells that are done, and queue the next ones while the queue is short.

    Args:
        order: the configured imagery, in its order, with the day each was taken.

    Returns:
        How many tiles were queued.
    """
    cursor.execute(query("lock_sweep"), {"sweep": sweep.id})
    if cursor.fetchone() != ("running",):
        return 0
    names = list(order or {})
    before = names[: names.index(sweep.source)] if sweep.source in names else []
    acquired = (order or {}).get(sweep.source or "")
    cursor.execute(query("finish_cells"), {"sweep": sweep.id})
    cursor.execute(query("sweeping_tiles"))
    (waiting,) = cursor.fetchone()
    queued = 0
    while waiting + queued < config.backfill_queue:
        cursor.execute(query("waiting_cells"), {"sweep": sweep.id, "limit": CELLS_AT_ONCE})
        cells = [Cell.unpacked(*row) for row in cursor.fetchall()]
        if not cells:
            break
        taken = []
        for cell in cells:
            taken.append(cell)
            queued += _queue(cursor, sweep, cell, before, acquired, config, now)
            if waiting + queued >= config.backfill_queue:
                break
        cursor.execute(query("queue_cells"), {
            "sweep": sweep.id, "xs": [cell.x for cell in taken], "ys": [cell.y for cell in taken],
        })
    if queued >= ANALYSE_FROM:
        cursor.execute(query("analyse_queue"))
    cursor.execute(query("finish_cells"), {"sweep": sweep.id})  # of some, nothing was left to look at
    cursor.execute(query("end_if_done"), {"sweep": sweep.id, "now": now})
    _note_progress(cursor, sweep, now)
    return queued


def progress_of(cursor: Cursor, sweep: Sweep) -> Progress:
    """How far it is; `sweep` as just read."""
    cursor.execute(query("tiles_in_hand"), {"sweep": sweep.id})
    meant, left = cursor.fetchone()
    done = sweep.tiles_done + max(0, meant - left)
    return Progress(done, sweep.tiles, left, seconds_left(sweep.recent, sweep.tiles - done))


def seconds_left(recent: Sequence[tuple[float, int]], tiles: int) -> float | None:
    """Seconds that so many tiles will take, by the median of the times a tile took of late.

    Args:
        recent: (time in seconds, tiles done by then), ascending.
    """
    if tiles <= 0:
        return 0.0
    paces = [(t1 - t0) / (n1 - n0) for (t0, n0), (t1, n1) in pairwise(recent) if n1 > n0]
    return median(paces) * tiles if paces else None


def stop_sweep(cursor: Cursor, sweep: Sweep) -> None:
    """Let it rest: what it has in the queue is taken out again, but for what is being looked at."""
    cursor.execute(query("lock_sweep"), {"sweep": sweep.id})
    cursor.execute(query("finish_cells"), {"sweep": sweep.id})
    cursor.execute(query("take_back_tiles"), {"sweep": sweep.id})
    cursor.execute(query("take_back_cells"), {"sweep": sweep.id})
    cursor.execute(query("set_sweep_state"), {"sweep": sweep.id, "state": "stopped", "ended": None})


def resume_sweep(cursor: Cursor, sweep: Sweep) -> None:
    """Let a stopped one go on."""
    cursor.execute(query("set_sweep_state"), {"sweep": sweep.id, "state": "running", "ended": None})


def replace_sweep(cursor: Cursor, sweep: Sweep, now: datetime) -> None:
    """End it: others will look at its tiles, or nobody."""
    if sweep.ended is None:
        stop_sweep(cursor, sweep)
        cursor.execute(query("set_sweep_state"), {"sweep": sweep.id, "state": "replaced", "ended": now})
    cursor.execute(query("drop_cells"), {"sweep": sweep.id})


def swept_before(cursor: Cursor) -> bool:
    """Whether a back-fill was ever begun."""
    cursor.execute(query("swept_before"))
    return bool(cursor.fetchone()[0])


def looked_cells(cursor: Cursor, zoom: int) -> list[Cell]:
    """The cells that have tiles which were looked at."""
    cursor.execute(query("looked_cells"), {"z": zoom, "side": CELL_SIDE})
    return [Cell(x, y, None) for x, y in cursor.fetchall()]


def _queue(
    cursor: Cursor, sweep: Sweep, cell: Cell, before: Sequence[str], acquired: date | None, config: Tiling,
    now: datetime,
) -> int:
    tiles = cell.tiles()
    cursor.execute(query("due_tiles"), {
        "sweep": sweep.id, "xs": tiles[:, 0].tolist(), "ys": tiles[:, 1].tolist(), "before": list(before),
        "acquired": acquired,
    })
    due = np.array(cursor.fetchall(), np.int64).reshape(-1, 2)
    at_once = config.model_copy(update={"debounce": 0.0})  # nobody is editing there
    return mark_dirty(cursor, due, config.zoom, reason=sweep.reason, sequence=None, now=now, config=at_once)


def _note_progress(cursor: Cursor, sweep: Sweep, now: datetime) -> None:
    """Measure where something was done since the last time; a rest in between makes one slow step, no more."""
    fresh = next((one for one in read_sweeps(cursor) if one.id == sweep.id), None)
    if fresh is None:
        return
    done = progress_of(cursor, fresh).done
    if not fresh.recent or fresh.recent[-1][1] != done:
        recent = [*fresh.recent, (now.astimezone(UTC).timestamp(), done)][-RECENT:]
        cursor.execute(query("note_progress"), {"sweep": sweep.id, "recent": json.dumps(recent)})
