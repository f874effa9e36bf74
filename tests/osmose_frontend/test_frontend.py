"""The frontend of these tests does to a document what the real one was seen to do."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from urllib3 import encode_multipart_formdata

from osmose_frontend import Frontend
from osmose_frontend.lint import lint

CLASS = '<class id="1" item="8540"><classtext lang="en" title="t"/></class>'
OTHER = '<class id="2" item="8540"><classtext lang="en" title="t"/></class>'


def error(subclass, number=1, more="", locations=1) -> str:
    where = '<location lat="1" lon="2"/>' * locations
    return f'<error class="{number}" subclass="{subclass}">{where}{more}<text lang="en" value="v"/></error>'


@pytest.fixture
def frontend():
    frontend = Frontend()
    frontend.state.register("mapgap", "banepa", "code")
    yield frontend
    frontend.close()


class Producer:
    """Sends documents, each a second later than the last."""

    def __init__(self, frontend: Frontend):
        self.frontend = frontend
        self.time = datetime(2026, 11, 22, tzinfo=UTC)

    def send(self, content: str, block="analyser", *, again=False, name="x.xml.gz", pack=gzip.compress, **fields):
        self.time += timedelta(0 if again else 1)
        text = f'<analysers><{block} timestamp="{self.time.isoformat()}">{content}</{block}></analysers>'
        form = {"analyser": "mapgap", "country": "banepa", "code": "code", "content": (name, pack(text.encode()))}
        body, kind = encode_multipart_formdata({k: v for k, v in (form | fields).items() if v is not None})
        url = f"{self.frontend.url}/control/send-update"
        return ask(urllib.request.Request(url, body, {"Content-Type": kind}, method="POST"))

    @property
    def open(self) -> int:
        return len(self.frontend.state.issues)


def ask(request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@pytest.fixture
def producer(frontend) -> Producer:
    return Producer(frontend)


def test_a_snapshot_replaces_the_classes_that_it_declares_and_no_others(producer):
    assert producer.send(CLASS + OTHER + error(1) + error(2) + error(3, 2)) == (200, "OK") and producer.open == 3
    producer.send(CLASS + error(2))
    assert producer.open == 2
    producer.send(CLASS)
    assert producer.open == 1
    producer.send(OTHER)
    assert producer.open == 0


def test_a_change_takes_back_by_element_only_and_before_it_adds(producer):
    producer.send(CLASS + error(1, more='<way id="5"/>') + error(2, more='<node id="5"/>') + error(3))
    producer.send('<delete type="way" id="5"/>', "analyserChange")
    assert producer.open == 2
    producer.send(CLASS + error(9, more='<node id="5"/>') + '<delete type="node" id="5"/>', "analyserChange")
    assert producer.open == 2, "deleted whatever the order, and the new one added"


def test_a_time_is_taken_once_and_an_older_one_too(producer):
    producer.send(CLASS + error(1))
    assert producer.send(CLASS, again=True) == (400, '{"detail": "FAIL: Already up to date"}') and producer.open == 1
    producer.time -= timedelta(100)
    assert producer.send(CLASS + error(2))[0] == 200
    assert producer.frontend.state.last[1].timestamp == producer.time


@pytest.mark.parametrize(("content", "what"), [
    (error(1) + CLASS, "KeyError"), (CLASS + error(1) + error(1), "affect row a second time"),
    (CLASS + error(1, locations=2), "affect row a second time"), (CLASS + error(2**63), "out of int64"),
    (CLASS + CLASS.replace("8540", "8541"), "two items"), (CLASS + error(1, more="<infos/>"), "KeyError"),
    (CLASS + error("x"), "ValueError"),
])
def test_what_it_cannot_take_leaves_all_as_it_was_and_may_be_sent_again(producer, content, what):
    producer.send(CLASS + error(77))
    status, said = producer.send(content)
    assert status == 500 and what in json.loads(said)["detail"] and producer.open == 1
    assert producer.send(CLASS + error(1) + error(2), again=True)[0] == 200 and producer.open == 2


def test_what_the_lint_refuses_and_it_does_not_notice(producer):
    assert producer.send(CLASS + error(1, locations=0))[0] == 200 and producer.open == 0
    assert producer.send(CLASS + error(-5) + error(6, more='<way id="-1"/>'))[0] == 200 and producer.open == 2
    assert producer.frontend.faults and "KeyError" not in producer.frontend.faults[0]


def test_a_snapshot_without_a_class_blocks_it_for_everybody(producer):
    assert producer.send("") == (200, "OK")
    for _ in range(3):
        status, said = producer.send(CLASS + error(1))
        assert status == 500 and 'relation \\"class_tmp\\" already exists' in said


def test_its_door(producer):
    assert producer.send(CLASS, code="other") == (403, '{"detail": "AUTH FAIL"}')
    assert producer.send(CLASS, code=None)[0] == 422
    assert producer.send(CLASS, name="x.txt")[0] == 500 and producer.send(CLASS, name="x.xml")[0] == 500
    assert producer.send(CLASS, pack=lambda text: gzip.compress(text[:-20])) == (500, "Internal Server Error")
    producer.frontend.state.unlocked = True
    assert producer.send(CLASS, code="other")[0] == 200 and len(producer.frontend.state.sources) == 1


def test_verdicts_hold_against_newer_documents_until_they_are_taken_back(producer):
    producer.send(CLASS + error(1))
    (key,) = producer.frontend.state.issues
    api = f"{producer.frontend.url}/api/0.3"
    assert ask(f"{api}/issue/{key}")[0] == 200 and ask(f"{api}/issue/{key}/false") == (200, "null")
    assert ask(f"{api}/issue/{key}/false")[0] == 410 == ask(f"{api}/issue/{key}")[0]
    producer.send(CLASS + error(1))
    assert producer.open == 0
    request = urllib.request.Request(f"{api}/false-positive/{key}", method="DELETE")
    assert ask(request)[0] == 200 and producer.open == 0
    producer.send(CLASS + error(1))
    assert json.loads(ask(f"{api}/issues")[1])["issues"][0]["id"] == str(key)


def test_a_source_that_was_silent_for_three_months_is_hidden(producer):
    producer.send(CLASS + error(1))
    assert len(producer.frontend.state.visible()) == 1
    producer.frontend.state.clock = lambda: producer.time + timedelta(days=91)
    assert len(producer.frontend.state.visible()) == 0 and producer.open == 1


GOOD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<analysers><analyser timestamp="2026-11-22T05:08:49Z" '
    'analyser_version="1" version="x"><class id="1" item="8540" level="3" tag="building,fix:imagery">'
    '<classtext lang="en" title="t"/>'
    '<detail lang="en" title="d"/><fix lang="en" title="f"/><trap lang="en" title="t"/></class>'
    '<error class="1" subclass="5"><location lat="1.5" lon="2.5"/><text lang="en" value="v"/></error>'
    "</analyser></analysers>"
)


@pytest.mark.parametrize(("old", "new"), [
    ("49Z", "49"), ("49Z", "49.5Z"), ("2026-11", "2126-11"), ("8540", "85400"), ('level="3"', 'level="9"'),
    ('"building,', '"building, '), ('<fix lang="en" title="f"/>', ""), ('<trap lang="en" title="t"/>', ""),
    ('<detail lang="en"', '<detail lang="de"'), ('title="d"', 'title=" "'), ('title="t"', f'title="{"t" * 60}"'),
    ('class="1"', 'class="2"'), ('"5"', '"-5"'), ('"5"', f'"{2**63}"'), ('lat="1.5"', 'lat="95"'),
    ('lon="2.5"', 'lon="nan"'), ('<location lat="1.5" lon="2.5"/>', ""), ("<text", '<location lat="1" lon="1"/><text'),
    ('lang="en" value', 'lang="fr" value'), ('value="v"', 'value=""'), ("<text", '<infos id="1"/><text'),
    ("<text", "<fixes/><text"), ("<text", '<way id="0"/><text'), ("<error", "loose text<error"),
    ("<error", '<delete type="way" id="1"/><error'), ('value="v"', 'value="a&#10;b"'), ("</error>", "</error>\x01"),
    ("<analysers>", "<analysers><analyser/>"), ('analyser_version="1"', 'analyser_version="one"'),
])
def test_the_lint_sees_what_is_wrong(old, new):
    lint(GOOD.encode())
    lint(gzip.compress(GOOD.encode()))
    assert old in GOOD
    with pytest.raises(Exception):  # noqa: B017  some of it is no XML at all, or lacks what is taken for granted
        lint(GOOD.replace(old, new).encode())


def test_the_lint_wants_classes_first_and_each_identity_once():
    start, end = GOOD.index("<error"), GOOD.index("</analyser>")
    one, declared = GOOD[start:end], GOOD[GOOD.index("<class"):start]
    with pytest.raises(AssertionError, match="twice"):
        lint(GOOD.replace(one, one + one).encode())
    with pytest.raises(AssertionError, match="after an error"):
        lint(GOOD.replace(one, one + declared.replace('id="1"', 'id="2"')).encode())
    with pytest.raises(AssertionError, match="without a class"):
        lint(GOOD.replace(declared + one, "").encode())
