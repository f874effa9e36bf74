"""Whatever the OpenAPI document allows, and what it does not, is answered and never with a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from claims import NOW, Ledger, gone, house, misplaced, missing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from web_server import TOKEN, Served, backend_of, serving

from daemon.db import Database
from daemon.web.app import create_app

EXAMPLES = 6
FEW = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
)


@pytest.fixture(scope="module")
def filled(one_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over a ledger with something in it; verdicts are as good as unlimited."""
    one_ledger.clear()
    one_ledger.open(missing(house(10, 10)), gone(house(50, 10), "way/7"), misplaced(house(90, 10), "way/8"))
    directory = tmp_path_factory.mktemp("fuzzed")
    with serving(backend_of(one_ledger.database, directory, token=TOKEN, clock=lambda: NOW, verdicts_per_hour=1e9,
                            open_verdicts=True)) as served:
        yield served


def document() -> dict:
    """Of the whole application; needs no database."""
    return create_app(backend_of(Database("host=/nowhere"), Path("/nowhere"))).openapi()


SCHEMA = schemathesis.openapi.from_dict(document())


@SCHEMA.parametrize()
@FEW
def test_no_answer_is_a_failure(case: schemathesis.Case, filled: Served) -> None:
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {TOKEN}"}
    check(case.call(base_url=filled.base, timeout=30, allow_redirects=False))


HOSTILE = st.one_of(
    st.text(max_size=30), st.sampled_from([
        "nan", "inf", "-1e400", "1" * 400, "%00", "\ud7ff", "../../etc/passwd", "' OR 1=1 --", "1,2,3,nan", "99/0/0",
        "-180,-90,180,90", "", "0", "-1", str(2**63), str(2**31), "null", "xxxx", "8xxx", "2-1", "2000-13-45",
    ]),
)


@given(path=st.sampled_from(sorted(SCHEMA.raw_schema["paths"])), values=st.lists(HOSTILE, min_size=9, max_size=9))
@settings(FEW, max_examples=120)
def test_no_hostile_value_is_a_failure(filled: Served, path: str, values: list[str]) -> None:
    operation = next(iter(SCHEMA.raw_schema["paths"][path].values()))
    parts = iter(values)
    named = {where: [one["name"] for one in operation.get("parameters", ()) if one["in"] == where]
             for where in ("path", "query")}
    filling = {name: quote(next(parts, "x")) or "x" for name in named["path"]}
    search = "&".join(f"{quote(name)}={quote(next(parts, ''))}" for name in named["query"])
    check(filled.get(f"{path.format(**filling)}?{search}"))


def quote(text: str) -> str:
    return requests.utils.quote(text.encode("utf-8", "replace"), safe="")


def check(answer: requests.Response | schemathesis.Response) -> None:
    assert answer.status_code < 500, f"{answer.status_code}: {answer.request.method} {answer.request.url}"
    assert "access-control-allow-origin" in {name.lower() for name in answer.headers}
    assert b"Traceback" not in answer.content and b"psycopg2" not in answer.content
