"""The pages for people, and the OpenAPI document."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from claims import Ledger, house, missing
from web_server import Served


class Links(HTMLParser):
    """Collects what a page refers to, and what it would run."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag == "a":
            self.links.append(named["href"] or "")
        if tag in ("script", "link", "img", "iframe"):
            self.loads.append(named.get("src") or named.get("href") or tag)


def test_the_page_says_what_waits_and_leads_to_what_there_is(served: Served, ledger: Ledger) -> None:
    ledger.open(missing(house(10, 10)), missing(house(50, 10)))
    answer = served.get("/")
    assert answer.headers["content-type"].startswith("text/html") and ">2<" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "OpenStreetMap contributors" in answer.text and "opendatacommons.org/licenses/odbl" in answer.text
    page = Links(answer.text)
    assert page.loads == []
    inner = [link for link in page.links if link.startswith("/")]
    assert len(inner) > 10
    for link in inner:
        assert served.get(link).status_code == 200, link


def test_the_operations_are_listed_without_help_from_elsewhere(served: Served) -> None:
    answer = served.get("/api/v1/")
    page = Links(answer.text)
    assert page.loads == [] and not any(link.startswith("http") for link in page.links)
    for path in served.json("/api/v1/openapi.json")["paths"]:
        assert path in answer.text


def test_every_operation_is_described_with_examples_and_what_it_may_refuse(served: Served) -> None:
    document = served.json("/api/v1/openapi.json")
    own = {path: one for path, one in document["paths"].items() if path.startswith("/api/v1")}
    assert len(own) == 7
    for path, operations in own.items():
        for method, operation in operations.items():
            assert operation["description"] and operation["tags"], (path, method)
            assert {"200", "503"} <= operation["responses"].keys(), (path, method)
            content = operation["responses"]["200"]["content"]
            assert all(one.get("schema") for one in content.values()), (path, method)
    schemas = document["components"]["schemas"]
    assert schemas["Summary"]["properties"]["osm"]["examples"] == ["way/123"]
    assert schemas["NewReview"]["examples"]
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert not re.search(r"/work/|/home/|/tmp/", str(document))


def test_no_header_of_a_client_gets_into_what_others_read(served: Served) -> None:
    answer = served.get("/", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert "evil" not in answer.text and f"{served.base}/" in answer.text
    assert "evil" not in served.get("/api/0.3/issues.rss", headers={"Host": "evil.example"}).text
