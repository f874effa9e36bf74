"""Named queries are found by name, and careless files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.db.queries import load_queries, query, sql_directory


def test_a_query_is_its_sql_without_its_heading(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\n-- Says one.\nSELECT 1;\n\n-- name: two\n-- Two.\nSELECT\n  2;\n")
    assert load_queries(tmp_path) == {"one": "SELECT 1;", "two": "SELECT\n  2;"}


def test_a_name_is_used_once_in_all_files(tmp_path: Path) -> None:
    for file in ("a.sql", "b.sql"):
        (tmp_path / file).write_text("-- name: same\n-- What it does.\nSELECT 1;\n")
    with pytest.raises(ValueError, match=r"b\.sql.*'same'"):
        load_queries(tmp_path)


@pytest.mark.parametrize("text", ["-- name: bare\nSELECT 1;\n", "-- name: empty\n-- Says nothing.\n"])
def test_a_query_needs_a_description_and_sql(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.sql").write_text(text)
    with pytest.raises(ValueError, match="needs a line"):
        load_queries(tmp_path)


def test_the_programs_queries_load() -> None:
    assert "pg_try_advisory_lock" in query("take_daemon_lock")
    assert (sql_directory() / "0001_osm.sql").exists()
    with pytest.raises(KeyError):
        query("no_such_query")
