"""What a task's status should be: read off the ledger, and held against what the server has.

    discrepancy                  open task (0, 3, 6)     5 or 9 of ours     somebody else's verdict
    published                    stays; content kept     0                  0 where people are to be asked anew
    published, but hidden        stays                   stays              stays
    open                         stays                   stays              stays
    closed as fixed              5                       stays              stays
    closed otherwise             9                       stays              stays

What is closed as a false positive somewhere else is withdrawn here: saying "not an issue" is for a mapper. A mapper's
verdict is undone only by something that is younger: the map shows again what it had ceased to show, or still shows what
he called fixed when its time is over, or "not an issue" was taken back by a person.
"""

from __future__ import annotations

from datetime import datetime

from daemon.discrepancies.model import ClosedAs, Discrepancy, State
from daemon.publish.maproulette.records import OUR_CLOSES, TaskRow
from daemon.publish.maproulette.replies import OPEN, Status

#: Verdicts that may be undone.
VERDICTS = frozenset({
    Status.FIXED, Status.FALSE_POSITIVE, Status.ALREADY_FIXED, Status.ANSWERED, Status.VALIDATED,
})


def wanted_status(discrepancy: Discrepancy, now: datetime) -> Status | None:
    """What the ledger wants of a task: created (which stands for all open ones), closed, or (None) as it is."""
    if discrepancy.state is State.CLOSED:
        return Status.ALREADY_FIXED if discrepancy.closed_as is ClosedAs.FIXED else Status.DISABLED
    if discrepancy.state is State.OPEN or is_hidden(discrepancy, now):
        return None
    return Status.CREATED


def is_hidden(discrepancy: Discrepancy, now: datetime) -> bool:
    """Whether nobody is to be asked about it for the time being."""
    return discrepancy.hidden_until is not None and discrepancy.hidden_until > now


def step_to(wanted: Status | None, row: TaskRow) -> Status | None:
    """The status that a task has to be given, None where it keeps what it has.

    Args:
        row: as the server has it now.
    """
    if wanted is None or row.status is None:
        return None
    if wanted is not Status.CREATED:
        return wanted if row.status in OPEN else None
    if row.status in OPEN:
        return None
    if row.ours:
        return Status.CREATED if row.status in OUR_CLOSES else None
    is_news = row.asked_anew is not None and (row.since is None or row.asked_anew > row.since)
    return Status.CREATED if row.status in VERDICTS and is_news else None
