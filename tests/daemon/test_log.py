"""One line an event, with its facts, without secrets."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from daemon.config import Log
from daemon.log import set_up_log, without_secrets

log = logging.getLogger("daemon.some_stage")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process's logging as it was."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    logging.captureWarnings(False)
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_text_carries_the_facts_of_the_event() -> None:
    out = io.StringIO()
    set_up_log(Log(), out)
    log.info("applied %d changes", 3, extra={"sequence": 466354, "block": "19/4/8+4"})
    (line,) = lines(out.getvalue())
    assert line.endswith("Z INFO    daemon.some_stage: applied 3 changes [sequence=466354 block=19/4/8+4]")


def test_json_has_a_field_for_each_fact() -> None:
    out = io.StringIO()
    set_up_log(Log(format="json"), out)
    log.warning("capped \"it\"\nat 10", extra={"sequence": 1, "level": "mine", "where": ("a", 1)})
    event = json.loads(out.getvalue())
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "warning", "logger": "daemon.some_stage", "message": 'capped "it"\nat 10', "sequence": 1,
        "level_": "mine", "where": "('a', 1)",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_one_line_whatever_it_holds(form: str) -> None:
    out = io.StringIO()
    set_up_log(Log(format=form), out)
    log.info("first\nsecond\r\n\x1b[31m")
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        log.exception("failed")
    first, second = lines(out.getvalue())
    assert "\x1b" not in first
    assert "Traceback" in second and "line two" in second


def test_below_the_level_nothing_is_said_and_setting_up_again_does_not_double() -> None:
    out = io.StringIO()
    set_up_log(Log(), io.StringIO())
    set_up_log(Log(level="warning"), out)
    log.info("no")
    log.warning("yes")
    assert len(lines(out.getvalue())) == 1


def test_a_wrong_format_string_costs_no_event() -> None:
    out = io.StringIO()
    set_up_log(Log(), out)
    log.warning("%d tiles", "many")
    assert "%d tiles" in out.getvalue() and "many" in out.getvalue()


def test_warnings_of_libraries_are_events_too() -> None:
    out = io.StringIO()
    set_up_log(Log(), out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert "old thing" in out.getvalue()


def test_a_reader_that_went_away_does_no_harm() -> None:
    out = io.StringIO()
    set_up_log(Log(), out)
    out.close()
    log.warning("nobody hears this")


@pytest.mark.parametrize(
    "text",
    [
        "GET https://me:hunter2@tiles.example.org/1/2/3.png failed",
        "GET https://tiles.example.org/1.png?token=hunter2&z=3: 403",
        'could not connect: host=db password=hunter2 user=me',
        "{'api_key': 'hunter2', 'z': 3}",
        'header "X-Api-Key": "hunter2"',
        "AWS_SECRET=hunter2 AWS_SIGNATURE: hunter2",
        "access_token = hunter2",
    ],
)
def test_secrets_are_blotted_out(text: str) -> None:
    assert "hunter2" not in without_secrets(text)
    assert "***" in without_secrets(text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_blotted_out_of_facts_and_traces(form: str) -> None:
    out = io.StringIO()
    set_up_log(Log(format=form), out)
    try:
        raise RuntimeError("postgresql://me:hunter2@db/x")
    except RuntimeError:
        log.exception("failed", extra={"url": "https://me:hunter2@x.org/"})
    assert "hunter2" not in out.getvalue()


def test_what_is_no_secret_stays() -> None:
    text = "sequence=12 https://planet.openstreetmap.org/replication/minute 3 tokens, author@example.org"
    assert without_secrets(text) == text
