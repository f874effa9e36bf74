"""Whether a change file may be applied to what the store holds: nothing left out, and the server still the same."""

from __future__ import annotations

from datetime import datetime, timedelta

from daemon.errors import SequenceGap
from daemon.replication.changefile import ChangeFile

#: A state may be so much older than the one before it; a bootstrapped file's time may be a little off.
BACKWARDS = timedelta(hours=1)


def check_succession(file: ChangeFile, server: str, sequence: int | None, timestamp: datetime | None) -> None:
    """Refuse a file that leaves something out, or comes from a server that has begun anew.

    On the server whose sequence is known, a file follows its predecessor. Coming from another server, or from a time
    alone, it must begin no later than the data: applying twice changes nothing, leaving out cannot be made good.

    Args:
        server, sequence, timestamp: where the store stands; `server` is whose sequence it is.

    Raises:
        SequenceGap: it may not.
    """
    data = f"{timestamp:%Y-%m-%d %H:%M:%S} UTC" if timestamp else "unknown time"
    which = f"change file {file.sequence}" + (f" of {file.server}" if file.server else "")
    if sequence is not None and file.server in ("", server):
        if file.sequence != sequence + 1:
            raise SequenceGap(f"{which} cannot follow {sequence}; nothing was applied")
        if timestamp and file.timestamp and file.timestamp < timestamp - BACKWARDS:
            raise SequenceGap(
                f"{which} is of {file.timestamp:%Y-%m-%d %H:%M:%S} UTC, but the data is of {data} already: the server "
                "was reset and counts anew, or the bootstrapped file's header named a wrong sequence; nothing was "
                "applied. Bootstrap again, from a newer extract"
            )
    elif timestamp and file.since and file.since > timestamp:
        raise SequenceGap(
            f"{which} begins at {file.since:%Y-%m-%d %H:%M:%S} UTC, later than the data, which is of {data}; what lies "
            "between would be missing, so nothing was applied"
        )
