"""Where state is kept: [database]."""

from __future__ import annotations

from pathlib import Path

from daemon.sections.section import Section, knob


class Database(Section):
    """Where state is kept."""

    dsn: str = knob("", 'libpq connection string without password; "" runs an embedded PostgreSQL under data_dir')
    password_env: str = knob("", "environment variable that holds the password")
    password_file: Path | None = knob(None, "file with mode 0600 that holds the password")
    pool: int = knob(4, "connections kept open at most", "connections", ge=2, le=100)
    statement_timeout: float = knob(600.0, "a statement that takes longer is cancelled", "seconds", gt=0)
