"""Named queries: all SQL that is not a migration lives in sql/queries/<room>.sql.

    -- name: lease_tiles
    -- One line that says what it does.
    SELECT ... WHERE z = %(z)s;
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADING = re.compile(r"^-- name:\s*(\S+)\s*$", re.MULTILINE)


def sql_directory() -> Path:
    """Where migrations and queries are: inside the package when it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


def load_queries(directory: Path) -> dict[str, str]:
    """All queries of the files in a directory, by name.

    Raises:
        ValueError: a name is used twice, a query has no description, or no SQL.
    """
    queries: dict[str, str] = {}
    for path in sorted(directory.glob("*.sql")):
        parts = _HEADING.split(path.read_text(encoding="utf-8"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in queries:
                raise ValueError(f"{path.name}: a query {name!r} exists already; names must differ")
            description, _, sql = body.strip().partition("\n")
            if not description.startswith("-- ") or not sql.strip():
                raise ValueError(f"{path.name}: query {name!r} needs a line '-- description' and SQL below it")
            queries[name] = sql.strip()
    return queries


@cache
def _shipped() -> dict[str, str]:
    return load_queries(sql_directory() / "queries")


def query(name: str) -> str:
    """The SQL text of a named query; KeyError for a name that no file has."""
    return _shipped()[name]
