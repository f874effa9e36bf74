"""For which detectors the store was made.

It holds what they select, so another detector, or one that selects otherwise, needs a new bootstrap: change files bring
only what is edited from then on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.errors import OsmDataError


def note_selection(cursor: Cursor, selection: Mapping[str, str]) -> None:
    """Write down for what the store was made: by detector, the name of what it selects."""
    cursor.execute(query("note_selection"), {"selection": json.dumps(dict(selection))})


def require_selection(cursor: Cursor, selection: Mapping[str, str]) -> None:
    """Make sure that the store has what the detectors select. What no detector asks for any more, it forgets.

    Raises:
        OsmDataError: it was made for others; names them.
    """
    cursor.execute(query("store_selection"))
    row = cursor.fetchone()
    if row is None:
        return
    made_for = selection if row[0] is None else row[0]
    lacking = sorted(name for name in selection if made_for.get(name) != selection[name])
    if lacking:
        new = [name for name in lacking if name not in made_for]
        raise OsmDataError(
            f"the store was bootstrapped for {', '.join(sorted(made_for)) or 'no detector'}; "
            f"{', '.join(f'{name} is new' if name in new else f'{name} selects other objects now' for name in lacking)}"
            "; run `mapgap bootstrap --force FILE.osm.pbf` with a fresh extract, or switch off what is new"
        )
    if row[0] != selection:
        note_selection(cursor, selection)
