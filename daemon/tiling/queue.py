"""The queue of dirty tiles: marked by change files and back-fill, leased to workers a block at a time.

    queued -> leased -> (row removed | queued again | dead);  dead -> queued when it changes again or is revived

Nothing is lost: a tile leaves the queue only by a look that saw its newest generation. A failed look is tried again
after a rest that doubles; a worker that falls silent loses its lease, one that is known to be gone is released at once.

Order of locks, for all who write in one transaction: tiles first, discrepancies after. A change file marks its tiles
before it re-checks discrepancies; a worker calls `complete` before it reconciles its claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.config import Tiling
from daemon.db import query
from daemon.errors import LeaseLost
from daemon.tiling.grid import Block, Tile

Reason = Literal["change", "imagery", "backfill"]
Look = Literal["judged", "no_imagery"]

#: A tile on which workers vanish is put aside after so many times the failures that `attempts` allows: being killed is
#: mostly not the tile's doing.
LOST_FACTOR = 10
#: Longest rest between two tries, in seconds.
RETRY_MOST_S = 86_400.0
#: Blocks of other workers that one choice can step over; bounds what a choice reads.
CROWD = 64
#: So many tiles marked at once change the queue so much that the server's statistics of it are renewed with them;
#: without, it reads the whole queue for each lease until its own autovacuum comes by.
ANALYSE_FROM = 20_000
#: Characters kept of a failure's message.
ERROR_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class LeasedBlock:
    """A block that one worker has for itself.

    Attributes:
        tiles: what is due of it, each with the generation that the lease saw.
        attempts: failures so far, the most of its tiles.
        worker: who has it.
    """

    block: Block
    tiles: tuple[tuple[Tile, int], ...]
    attempts: int
    worker: str


class Completion(NamedTuple):
    """What became of the tiles of a finished block."""

    removed: tuple[Tile, ...]
    """Looked at in their newest state: out of the queue."""
    requeued: tuple[Tile, ...]
    """Changed while they were looked at, or without a result: back in the queue."""


class Counts(NamedTuple):
    """The queue at one moment."""

    queued: int
    due: int
    """Queued, and past debounce and rest."""
    leased: int
    dead: int
    oldest: datetime | None
    """Since when the longest waiting tile that is not dead is dirty."""
    next_due: datetime | None
    """When the next queued tile may be looked at; in the past when some are due."""


class DeadTile(NamedTuple):
    """A tile that was put aside, and why."""

    tile: Tile
    attempts: int
    lost: int
    last_seen: datetime
    error: str | None


def mark_dirty(
    cursor: Cursor, tiles: np.ndarray | Iterable[Tile], z: int, *, reason: Reason, sequence: int | None, now: datetime,
    config: Tiling,
) -> int:
    """Put tiles into the queue, in one statement; returns how many different ones there were.

    A tile that is queued already rests until `debounce` seconds from now, but not longer than `debounce_most` after its
    first change. One that is leased is looked at again after that look. A dead one lives again.

    Args:
        tiles: int array [N, 2] of x, y; or tiles, all of zoom `z`.
        sequence: of the change file; None for back-fill.
    """
    if not isinstance(tiles, np.ndarray):
        tiles = list(tiles)
        if strange := next((t for t in tiles if t.z != z), None):
            raise ValueError(f"tile {strange} is not of zoom {z}")
        tiles = np.array([(t.x, t.y) for t in tiles], dtype=np.int64)
    pairs = np.unique(tiles.reshape(-1, 2), axis=0)
    if not len(pairs):
        return 0
    if pairs.min() < 0 or pairs.max() >= 1 << z:
        raise ValueError(f"tiles outside of 0 .. {(1 << z) - 1}, the range of zoom {z}")
    cursor.execute(query("mark_dirty"), {
        "z": z, "xs": _array(pairs[:, 0].tolist()), "ys": _array(pairs[:, 1].tolist()), "reason": reason,
        "sequence": sequence, "now": now, "debounce": config.debounce, "debounce_most": config.debounce_most,
    })
    if len(pairs) >= ANALYSE_FROM:
        cursor.execute(query("analyse_queue"))
    return len(pairs)


def lease_blocks(
    cursor: Cursor, *, side: int, limit: int, worker: str, now: datetime, config: Tiling
) -> list[LeasedBlock]:
    """Take up to `limit` blocks that have due tiles and that nobody works on, each with all its due tiles.

    Commit soon: until then other workers pass over these blocks. Two workers never have the same block: the choice
    locks each block, and the lease looks again, after that lock is had, whether somebody took it since.

    Args:
        side: tiles along one side of a block.
        worker: a name that no other worker at the same time has.
    """
    cursor.execute(query("expire_leases"), {"now": now, "lost_most": _lost_most(config)})
    cursor.execute(query("claim_blocks"), {
        "now": now, "side": side, "limit": limit, "window": (limit + CROWD) * side * side,
    })
    chosen = [Block(z, bx, by, side) for z, bx, by in cursor.fetchall()]
    leased: dict[Block, list[tuple[Tile, int]]] = {block: [] for block in chosen}
    attempts = dict.fromkeys(chosen, 0)
    for z in sorted({block.z for block in chosen}):
        tiles = [tile for block in chosen if block.z == z for tile in block.tiles()]
        cursor.execute(query("lease_tiles"), {
            **_places(tiles), "z": z, "side": side, "now": now, "worker": worker, "lease": config.lease,
        })
        for x, y, generation, tried in cursor.fetchall():
            tile = Tile(z, x, y)
            block = Block.of(tile, side)
            leased[block].append((tile, generation))
            attempts[block] = max(attempts[block], tried)
    return [
        LeasedBlock(block, tuple(sorted(tiles, key=lambda t: (t[0].y, t[0].x))), attempts[block], worker)
        for block, tiles in leased.items() if tiles
    ]


def next_block(cursor: Cursor, *, side: int, now: datetime) -> Block | None:
    """The block that the next lease would take, without taking it: nobody else can until the transaction ends."""
    cursor.execute(query("claim_blocks"), {"now": now, "side": side, "limit": 1, "window": (1 + CROWD) * side * side})
    row = cursor.fetchone()
    return Block(*row, side) if row else None


def renew(cursor: Cursor, leased: LeasedBlock, now: datetime, config: Tiling) -> None:
    """Prolong a lease; long work calls this every now and then.

    Raises:
        LeaseLost: it was given away already; stop working on the block.
    """
    cursor.execute(query("renew_leases"), {**_held(leased), "now": now, "lease": config.lease})
    if cursor.rowcount != len(leased.tiles):
        raise _lost(leased)


def complete(
    cursor: Cursor, leased: LeasedBlock, results: Mapping[Tile, Look], now: datetime, source: str | None,
    model: str | None, acquired: date | None = None,
) -> Completion:
    """Finish a block: its tiles leave the queue, unless they changed since they were leased.

    Args:
        results: what became of each tile; tiles of the block that were looked at without being due may be among them.
            A leased tile without a result stays in the queue.
        source, model: names of the imagery and the model, kept with the look.
        acquired: the day the imagery was taken, where it is known.

    Raises:
        LeaseLost: the lease was given away meanwhile. Roll back: whoever has the block now will do it.
    """
    cursor.execute(query("lock_leased"), _held(leased))
    held = {Tile(leased.block.z, x, y): generation for x, y, generation in cursor.fetchall()}
    if len(held) != len(leased.tiles):
        raise _lost(leased)
    if results:
        cursor.execute(query("record_looks"), {
            **_places(results), "z": leased.block.z, "results": list(results.values()), "now": now, "source": source,
            "acquired": acquired, "model": model,
        })
    looked = [tile for tile, _ in leased.tiles if tile in results]
    removed = tuple(tile for tile, generation in leased.tiles if tile in results and held[tile] == generation)
    if removed:
        seen = dict(leased.tiles)
        cursor.execute(query("remove_done_tiles"), {
            **_places(removed), "z": leased.block.z, "worker": leased.worker,
            "generations": _array([seen[tile] for tile in removed]),
        })
    changed = [tile for tile in looked if tile not in removed]
    unseen = [tile for tile, _ in leased.tiles if tile not in results]
    _unlease(cursor, leased, changed, looked=True)
    _unlease(cursor, leased, unseen, looked=False)
    return Completion(removed, (*changed, *unseen))


def give_back(cursor: Cursor, leased: LeasedBlock) -> None:
    """Return a block unfinished, as if it had never been taken. What the lease lost meanwhile is left alone."""
    _unlease(cursor, leased, [tile for tile, _ in leased.tiles], looked=False)


def fail(cursor: Cursor, leased: LeasedBlock, error: str | Exception, now: datetime, config: Tiling) -> list[Tile]:
    """A look failed: the tiles rest (`retry_after`, doubling), or are put aside after `attempts` failures.

    What the lease lost meanwhile is left alone. Returns the tiles that were put aside; the reason stays with them.
    """
    reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
    cursor.execute(query("fail_tiles"), {
        **_held(leased), "now": now, "error": reason.replace("\x00", "")[:ERROR_LENGTH],
        "attempts_most": config.attempts, "retry_after": config.retry_after, "retry_most": RETRY_MOST_S,
    })
    return sorted(Tile(leased.block.z, x, y) for x, y, dead in cursor.fetchall() if dead)


def release_worker(cursor: Cursor, worker: str, config: Tiling | None = None) -> int:
    """Take back all that a worker has that is known to be gone; returns how many tiles.

    They queue behind all others, so that a tile that kills its worker cannot hold up the rest; with `config`, one that
    has done so `LOST_FACTOR * attempts` times is put aside.
    """
    cursor.execute(query("release_worker"), {"worker": worker, "lost_most": _lost_most(config or Tiling())})
    return cursor.rowcount


def counts(cursor: Cursor, now: datetime | None = None) -> Counts:
    """The length of the queue, at `now` (default: the clock of the server)."""
    cursor.execute(query("count_tiles"), {"now": now})
    return Counts(*cursor.fetchone())


def dead_tiles(cursor: Cursor, limit: int = 100) -> list[DeadTile]:
    """What was put aside, the latest first."""
    cursor.execute(query("dead_tiles"), {"limit": limit})
    return [DeadTile(Tile(z, x, y), *rest) for z, x, y, *rest in cursor.fetchall()]


def revive(cursor: Cursor, now: datetime | None = None) -> int:
    """Give everything that was put aside a fresh start; returns how many tiles."""
    cursor.execute(query("revive_tiles"), {"now": now})
    return cursor.rowcount


def _lost_most(config: Tiling) -> int:
    return min(config.attempts * LOST_FACTOR, 32_000)


def _unlease(cursor: Cursor, leased: LeasedBlock, tiles: Sequence[Tile], *, looked: bool) -> None:
    if tiles:
        cursor.execute(query("unlease_tiles"), {
            **_places(tiles), "z": leased.block.z, "worker": leased.worker, "looked": looked,
        })


def _held(leased: LeasedBlock) -> dict[str, object]:
    return {**_places([tile for tile, _ in leased.tiles]), "z": leased.block.z, "worker": leased.worker}


def _places(tiles: Iterable[Tile]) -> dict[str, str]:
    tiles = list(tiles)
    return {"xs": _array([t.x for t in tiles]), "ys": _array([t.y for t in tiles])}


def _array(numbers: Iterable[int]) -> str:
    """A PostgreSQL array as one literal: a million tiles are one value for the parser, not a million."""
    return "{" + ",".join(map(str, numbers)) + "}"


def _lost(leased: LeasedBlock) -> LeaseLost:
    return LeaseLost(
        f"block {leased.block}: worker {leased.worker} was silent past its lease and lost it; nothing of this look is "
        "kept, whoever has the block now looks again (raise tiling.lease if looks take so long)"
    )
