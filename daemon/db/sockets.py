"""Where the embedded server's unix socket is: unix allows only short paths, libpq and PostgreSQL only plain ones."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from daemon.errors import DatabaseError

#: Longest path of a unix socket in bytes, without the closing NUL (sockaddr_un.sun_path on Linux; macOS has 103).
SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103
#: The socket's name within its directory; 5432 names it only, nothing listens on that port.
SOCKET_NAME = ".s.PGSQL.5432"
#: Characters that separate or quote directories in lists of PostgreSQL and libpq.
_NOT_PLAIN = frozenset(",\"'\\\n")


def make_socket_dir(preferred: Path, before: Path) -> Path:
    """A directory for the socket that only its owner can enter: `preferred`, else a short temporary one.

    Args:
        preferred: where it belongs; taken if its path will do.
        before: where this process had it last; kept if it still exists, because an open pool knows it.

    Raises:
        DatabaseError: the path of the directory for temporary files is too long as well.
    """
    if len(os.fsencode(preferred / SOCKET_NAME)) <= SOCKET_PATH_MAX and not set(str(preferred)) & _NOT_PLAIN:
        preferred.mkdir(mode=0o700, exist_ok=True)
        return preferred
    if before != preferred and before.is_dir():
        return before
    for place in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(place)) + len("/mapgap-12345678/") + len(SOCKET_NAME) <= SOCKET_PATH_MAX:
            return Path(tempfile.mkdtemp(prefix="mapgap-", dir=place))
    raise DatabaseError(f"{preferred}: too long for a unix socket, and so is the temporary directory; set TMPDIR")
