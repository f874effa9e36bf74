"""What clients are told when something fails within: never how, where or of what the program is made."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from web_server import Served, backend_of, serving

from daemon import errors
from daemon.db import Database
from daemon.web.errors import STATUSES, told


def test_a_database_that_is_gone_is_a_503_that_says_nothing_of_it(tmp_path: Path) -> None:
    gone = Database(f"host={tmp_path}/nowhere dbname=secretname user=secretuser", password="secretword")
    with serving(backend_of(gone, tmp_path)) as served:
        lists = ["/api/v1/discrepancies", "/api/v1/discrepancies.geojson", "/api/0.3/issues"]
        for path in [*lists, "/api/v1/coverage?bbox=0,0,1,1", "/readyz"]:
            answer = served.get(path)
            assert answer.status_code == 503, path
            assert "secret" not in answer.text and str(tmp_path) not in answer.text
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        status = served.json("/api/v1/status")
        assert status["verdict"] == "broken" and "secret" not in str(status) and str(tmp_path) not in str(status)
        assert "does not answer" in served.get("/").text
        assert "mapgap_database_up 0.0" in served.get("/metrics").text


def test_what_nobody_foresaw_is_a_500_without_its_story(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def with_faults(app):
        @app.get("/fault")
        def fault() -> None:
            raise ZeroDivisionError("in /secret/place")

        @app.get("/sql")
        def wrong_sql() -> None:
            with database.transaction() as cursor:
                cursor.execute("SELECT secret FROM nowhere")

        return app

    with serving(backend_of(database, tmp_path), wrap=with_faults) as served:
        for path in ("/fault", "/sql"):
            answer = served.get(path)
            assert answer.status_code == 500 and answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "secret" not in answer.text and "Traceback" not in answer.text
        assert served.json("/healthz")
    assert "ZeroDivisionError: in /secret/place" in caplog.text and "nowhere" in caplog.text


def test_a_query_that_takes_too_long_is_ended(database: Database, tmp_path: Path) -> None:
    hasty = Database(database.dsn, statement_timeout=0.2)

    def with_slow(app):
        @app.get("/slow")
        def slow() -> None:
            with hasty.transaction() as cursor:
                cursor.execute("SELECT pg_sleep(60)")

        return app

    with serving(backend_of(hasty, tmp_path), wrap=with_slow) as served:
        assert served.get("/slow").status_code == 503
    hasty.close()


def test_a_stop_does_not_wait_for_a_query_without_end(database: Database, tmp_path: Path) -> None:
    import threading

    begun = threading.Event()

    def with_endless(app):
        @app.get("/endless")
        def endless() -> None:
            with database.transaction() as cursor:
                begun.set()
                cursor.execute("SELECT pg_sleep(600)")

        return app

    answers = []
    backend = backend_of(database, tmp_path, sections={"schedule": {"grace": 0.2}})
    with serving(backend, wrap=with_endless) as served:
        client = threading.Thread(target=lambda: answers.append(_status(served, "/endless")))
        client.start()
        assert begun.wait(30)
    client.join()
    assert answers[0] in (503, None)


def _status(served: Served, path: str) -> int | None:
    import requests

    try:
        return served.get(path).status_code
    except requests.ConnectionError:
        return None


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (errors.DiscrepancyUnknown("no discrepancy has this key"), 404, "no discrepancy has this key"),
        (errors.RequestTooLarge("too much"), 413, "too much"),
        (errors.DatabaseUnavailable("host=secret"), 503, STATUSES[errors.DatabaseUnavailable][1]),
        (errors.MigrationError("secret"), 503, STATUSES[errors.DatabaseError][1]),
        (errors.ImageryForbidden("secret"), 503, STATUSES[errors.ImageryError][1]),
        (errors.OsmDataError("secret"), 500, STATUSES[errors.MapgapError][1]),
        (psycopg2.errors.NumericValueOutOfRange("secret"), 400, STATUSES[psycopg2.DataError][1]),
        (KeyError("secret"), 500, STATUSES[Exception][1]),
    ],
)
def test_a_failure_is_told_as_the_nearest_of_its_kinds(error: Exception, status: int, text: str) -> None:
    assert told(error) == (status, text)
