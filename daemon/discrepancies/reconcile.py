"""What a look at one block changes in the ledger: claims are matched with what is known there, and each becomes
something new, something seen again, or silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg2
import shapely
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import close, lock_ledger, write_history
from daemon.discrepancies.match import is_line, match, overlap, width_m
from daemon.discrepancies.model import (
    LIVE,
    ClosedAs,
    Discrepancy,
    Event,
    check_claim,
    key_of,
    plain,
    point_of,
)
from daemon.discrepancies.stretches import changed_length, put_together
from daemon.tiling.grid import lonlat_to_mercator, mercator_to_lonlat
from detectors.base import Claim

Bbox = tuple[float, float, float, float]

#: Metres around the block and its claims within which the neighbour's discrepancies are looked at, too.
REACH_M = 30.0
#: A discrepancy moved noticeably when its outlines overlap by less (intersection over union) ...
MOVED_IOU = 0.8
#: ... a line when more of it runs where it did not, or the other way round, metres ...
REDRAWN_M = 5.0
#: ... or its shift changed by more (metres).
MOVED_SHIFT_M = 1.0
#: Its confidence changed noticeably when it did by so much.
CONFIDENCE_STEP = 0.05
#: A representative point so near to the block's border (as a part of its width, and metres at least and at most) may
#: have been seen from the other side.
BORDER_PART = 0.1
BORDER_LEAST_M = 1.0
BORDER_MOST_M = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Keys of the discrepancies that a look touched; each is in one list.

    Attributes:
        opened: new ones.
        seen: seen again, nothing noticeable about it.
        moved: seen again with another outline, shift or OSM object.
        reopened: seen again after they were closed (fixed, withdrawn or stale).
        withdrawn: not seen although there was valid imagery, or part of another one from now on.
        silenced: claimed again although a person had called them false.
    """

    opened: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    silenced: list[str] = field(default_factory=list)


def reconcile(
    cursor: Cursor, *, detector: str, key_prefix: str, claims: Sequence[Claim], owned: Bbox,
    judged: Callable[[float, float], bool], now: datetime, sequence: int | None = None,
) -> Outcome:
    """Bring the ledger in line with all claims of one detector about one block.

    Call it after the block's tiles were completed in the same transaction (the order of locks).

    Args:
        claims: all that the detector claims in the block; duplicates count once.
        owned: lon/lat (west, south, east, north) of the block without margin.
        judged: whether there was valid imagery at (lon, lat).
        sequence: newest change file the look's map knew of: what a later one fixed does not open again.

    Raises:
        ClaimInvalid: a claim cannot be kept; nothing was changed.
    """
    claims = _distinct(claims, detector, key_prefix)
    lock_ledger(cursor)
    known = _known_around(cursor, detector, claims, owned)
    lines = put_together(claims, known, owned, judged)
    claims, known = lines.claims, lines.known
    matching = match(claims, known)

    pairs = [(claims[i], known[j]) for i, j in matching.live.items()]
    noticed = {row.key: change for claim, row in pairs if (change := _noticeable(claim, row))}
    # What two blocks see a little differently, each as its own, stays as its owner drew it for as long as that sees it.
    neighbours = {row.key for _, row in pairs if row.missed == 0 and not _owns(owned, row.point)}
    changes = {key: change for key, change in noticed.items() if key not in neighbours}
    pairs += lines.pairs
    changes |= {row.key: change for claim, row in lines.pairs if (change := _noticeable(claim, row))}
    changed = [(claim, row) for claim, row in pairs if row.key in changes]
    returned = [(claims[i], known[j]) for i, j in matching.closed.items() if not _is_outdated(known[j], sequence)]
    silenced = sorted({known[j].key for j in matching.silenced.values()})
    matched = set(matching.live.values())
    unseen = [row for j, row in enumerate(known) if row.state in LIVE and j not in matched and _owns(owned, row.point)]
    unseen = [row for row in unseen if judged(*row.point)]
    doubted = [row.key for row in unseen if row.missed == 0 and _is_at_border(owned, row)]
    withdrawn = [row.key for row in unseen if row.key not in set(doubted)]

    fresh = [claims[i] for i in matching.new]
    opened = _free_keys(cursor, fresh, key_prefix)
    _store(cursor, "open_discrepancies", opened, fresh, now)
    renewed = changed + lines.shortened + returned
    _store(cursor, "change_discrepancies", [row.key for _, row in renewed], [claim for claim, _ in renewed], now)
    seen = [row.key for _, row in pairs + returned] + silenced
    if seen:
        cursor.execute(query("see_discrepancies"), {"keys": seen, "now": now})
    _hand_over(cursor, [(claim, row) for claim, row in pairs if row.key not in noticed], owned)
    if doubted:
        cursor.execute(query("miss_discrepancies"), {"keys": doubted})

    changes |= {row.key: _noticeable(claim, row) for claim, row in lines.shortened}
    moved = [key for key, change in changes.items() if change.keys() != {"confidence"}]
    firmer = [key for key, change in changes.items() if change.keys() == {"confidence"}]
    reopened = [row.key for _, row in returned]
    write_history(cursor, Event.OPENED, opened, now=now, sequence=sequence)
    write_history(cursor, Event.MOVED, moved, now=now, sequence=sequence, details=[changes[key] for key in moved])
    write_history(cursor, Event.SEEN, firmer, now=now, sequence=sequence, details=[changes[key] for key in firmer])
    write_history(
        cursor, Event.REOPENED, reopened, now=now, sequence=sequence,
        details=[{"was": row.closed_as} for _, row in returned],
    )
    close(cursor, withdrawn, ClosedAs.WITHDRAWN, now=now, sequence=sequence)
    for key, whole in lines.absorbed.items():
        close(cursor, [key], ClosedAs.WITHDRAWN, now=now, sequence=sequence, detail={"part_of": whole})
    return Outcome(
        opened=sorted(opened), seen=sorted(row.key for _, row in pairs if row.key not in moved), moved=sorted(moved),
        reopened=sorted(reopened), withdrawn=sorted([*withdrawn, *lines.absorbed]), silenced=silenced,
    )


def _distinct(claims: Sequence[Claim], detector: str, key_prefix: str) -> list[Claim]:
    """Each claim once: of those with the same kind, place and object the most confident."""
    best: dict[str, Claim] = {}
    for claim in claims:
        check_claim(claim)
        if claim.detector != detector:
            raise ValueError(f"a claim of detector {claim.detector!r} among those of {detector!r}")
        key = key_of(claim, key_prefix)
        if key not in best or claim.confidence > best[key].confidence:
            best[key] = claim
    return list(best.values())


def _known_around(cursor: Cursor, detector: str, claims: Sequence[Claim], owned: Bbox) -> list[Discrepancy]:
    boxes = [owned, *(claim.geometry.bounds for claim in claims)]
    west, south = lonlat_to_mercator(min(b[0] for b in boxes), min(b[1] for b in boxes))
    east, north = lonlat_to_mercator(max(b[2] for b in boxes), max(b[3] for b in boxes))
    reach = REACH_M * max(math.cosh(south / 6378137), math.cosh(north / 6378137))
    west, south = mercator_to_lonlat(west - reach, south - reach)
    east, north = mercator_to_lonlat(east + reach, north + reach)
    cursor.execute(query("discrepancies_around"), {
        "detector": detector, "west": west, "south": south, "east": east, "north": north,
        "osm": sorted({claim.osm for claim in claims if claim.osm}),
    })
    return [Discrepancy.of(row) for row in cursor.fetchall()]


def _noticeable(claim: Claim, row: Discrepancy) -> dict[str, object]:
    """What about a discrepancy changed so much that readers should know; empty when nothing did."""
    change: dict[str, object] = {}
    if claim.osm != row.osm:
        change["osm"] = [row.osm, claim.osm]
    if is_line(claim.geometry) and is_line(row.geometry):
        redrawn = changed_length(row.geometry, claim.geometry)
        if redrawn > REDRAWN_M:
            change["redrawn_m"] = round(redrawn, 2)
    else:
        iou, distance = overlap(claim.geometry, row.geometry)
        if iou < MOVED_IOU:
            change["moved_m"] = round(distance, 2)
    old, new = row.shift_m, claim.shift_m
    if (old is None) != (new is None) or (old and new and math.dist(old, new) > MOVED_SHIFT_M):
        change["shift_m"] = [old, new]
    if abs(claim.confidence - row.confidence) >= CONFIDENCE_STEP:
        change["confidence"] = [round(row.confidence, 4), round(claim.confidence, 4)]
    return change


def _free_keys(cursor: Cursor, claims: Sequence[Claim], key_prefix: str) -> list[str]:
    """A key for each new claim that nothing else has, not even what is closed."""
    keys: dict[int, str] = {}
    salt = 0
    while waiting := [i for i in range(len(claims)) if i not in keys]:
        offered = {i: key_of(claims[i], key_prefix, salt) for i in waiting}
        cursor.execute(query("keys_taken"), {"keys": list(offered.values())})
        taken = {key for (key,) in cursor.fetchall()} | set(keys.values())
        for i, key in offered.items():
            if key not in taken:
                keys[i] = key
                taken.add(key)
        salt += 1
    return [keys[i] for i in range(len(claims))]


def _store(cursor: Cursor, name: str, keys: Sequence[str], claims: Sequence[Claim], now: datetime) -> None:
    if not keys:
        return
    bounds = [claim.geometry.bounds for claim in claims]
    points = [point_of(claim.geometry) for claim in claims]
    shifts = [claim.shift_m or (None, None) for claim in claims]
    cursor.execute(query(name), {
        "key": list(keys), "detector": [c.detector for c in claims], "kind": [c.kind for c in claims],
        "osm": [c.osm for c in claims], "confidence": [float(c.confidence) for c in claims],
        "east_m": [None if e is None else float(e) for e, _ in shifts],
        "north_m": [None if n is None else float(n) for _, n in shifts],
        "geometry": [psycopg2.Binary(shapely.to_wkb(c.geometry, output_dimension=2)) for c in claims],
        "west": [b[0] for b in bounds], "south": [b[1] for b in bounds],
        "east": [b[2] for b in bounds], "north": [b[3] for b in bounds],
        "lon": [p[0] for p in points], "lat": [p[1] for p in points],
        "evidence": [json.dumps(plain(c.evidence), allow_nan=False) for c in claims], "now": now,
    })


def _hand_over(cursor: Cursor, pairs: Sequence[tuple[Claim, Discrepancy]], owned: Bbox) -> None:
    """What the neighbour owned and this block saw is this block's from now on: who sees it must be who withdraws it."""
    places = {row.key: point_of(claim.geometry) for claim, row in pairs if not _owns(owned, row.point)}
    places = {key: point for key, point in places.items() if _owns(owned, point)}
    if places:
        cursor.execute(query("hand_over_discrepancies"), {
            "keys": list(places), "lon": [p[0] for p in places.values()], "lat": [p[1] for p in places.values()],
        })


def _is_outdated(row: Discrepancy, sequence: int | None) -> bool:
    """Whether a change file that the look did not know yet has fixed it; its tiles are looked at again anyway."""
    return (
        row.closed_as is ClosedAs.FIXED and sequence is not None
        and row.closed_sequence is not None and row.closed_sequence > sequence
    )


def _owns(owned: Bbox, point: tuple[float, float]) -> bool:
    """Whether a point is the block's; as with tiles, its western and northern edge belong to it, the others do not."""
    return owned[0] <= point[0] < owned[2] and owned[1] < point[1] <= owned[3]


def _is_at_border(owned: Bbox, row: Discrepancy) -> bool:
    lon, lat = row.point
    metre = 1 / 111_320
    reach = min(max(BORDER_PART * width_m(row.geometry), BORDER_LEAST_M), BORDER_MOST_M) * metre
    across = reach / max(math.cos(math.radians(lat)), 1e-6)
    return lon - owned[0] < across or owned[2] - lon < across or lat - owned[1] < reach or owned[3] - lat < reach
