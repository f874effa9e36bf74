"""Change files in order, the next ones fetched and checked while one is applied."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from daemon.errors import SequenceGap
from daemon.replication.changefile import ChangeFile
from daemon.replication.source import CONNECTIONS, ReplicationSource
from daemon.replication.state import State

#: Change files fetched ahead of the one in use, CONNECTIONS at a time, so that the way to the server is not waited for.
PREFETCH = 8
#: Behind a load balancer state.txt may jump back a little; a server further behind than this is another server.
JUMP_BACK = 10


def follow(
    source: ReplicationSource, after: int, limit: int, stop: threading.Event, newest: State | None = None
) -> Iterator[ChangeFile]:
    """The change files after sequence `after`, up to the newest there is, at most `limit`.

    Each is the successor of the one before. A file is there until the next one is asked for, or the iterator is
    closed; close it (`contextlib.closing`) when leaving it early. Where a file cannot be had, those before it still
    come, then the error. After `stop` is set no further file comes.

    Args:
        newest: what `source.newest()` said just now; asked for where it is not given.

    Raises:
        SequenceGap: the server is well behind `after`, so it is not the one that was followed; or it has a hole.
        ReplicationError: as `ReplicationSource.fetch` and `newest`.
    """
    if limit < 1 or stop.is_set():
        return
    newest = newest or source.newest()
    if newest.sequence < after - JUMP_BACK:
        raise SequenceGap(
            f"the server's newest sequence is {newest.sequence}, but {after} was applied already; replication.url "
            "names another server, or it was reset. Set the url right, or bootstrap again"
        )
    wanted = iter(range(after + 1, min(newest.sequence, after + limit) + 1))
    ahead: deque[Future[ChangeFile]] = deque()
    pool = ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="replication")
    try:
        while not stop.is_set():
            for _, sequence in zip(range(PREFETCH + 1 - len(ahead)), wanted, strict=False):
                ahead.append(pool.submit(source.obtain, sequence))
            if not ahead:
                return
            file = ahead[0].result()
            ahead.popleft()
            try:
                yield file
            finally:
                file.path.unlink(missing_ok=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for future in ahead:
            if not future.cancel() and future.exception() is None:
                future.result().path.unlink(missing_ok=True)
