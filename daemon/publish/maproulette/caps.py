"""Caps: how many more tasks people can bear, in each area and on each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.reviews.ranking import Candidate, areas_at
from daemon.sections.publish import MapRoulette

DAY = timedelta(days=1)


class Room(NamedTuple):
    """For new tasks."""

    today: int
    """How many more may be made in the 24 hours that end now."""
    areas: Mapping[str, int]
    """How many more each area of the candidates can take."""


def room_for(cursor: Cursor, candidates: Sequence[Candidate], knobs: MapRoulette, now: datetime) -> Room:
    """What is left of the caps; tasks that are about to be made count as made, and as open."""
    cursor.execute(query("tasks_made_since"), {"since": now - DAY})
    (made,) = cursor.fetchone() or (0,)
    cursor.execute(query("places_of_open_tasks"))
    rows = cursor.fetchall()
    waiting = Counter(areas_at([lon for lon, _ in rows], [lat for _, lat in rows]))
    areas = set(areas_at([one.lon for one in candidates], [one.lat for one in candidates]))
    return Room(
        max(knobs.new_per_day - made, 0),
        {area: max(knobs.open_per_area - waiting[area], 0) for area in sorted(areas)},
    )
