"""`mapgap review ...` as a user sees it: verdicts given, listed, taken in from files and written to files."""

from __future__ import annotations

import csv
import io
import json

import pytest
from claims import Ledger, house, missing
from installation import Installation


class Office:
    """An installation with three claims, and none of the work that finds them."""

    def __init__(self, installation: Installation):
        self.installation = installation
        installation.bootstrap()
        ledger = Ledger(installation.database)
        self.keys = ledger.open(*(missing(house(20 * i, 50), 0.8, model="net@1") for i in range(3)))
        self.ledger = ledger

    def __call__(self, *words: object):
        return self.installation.mapgap("review", *words)

    def ok(self, *words: object) -> str:
        answer = self(*words)
        assert answer.exit_code == 0, answer.output
        return answer.stdout


@pytest.fixture
def office(installation: Installation) -> Office:
    return Office(installation)


def test_verdicts_are_given_and_listed(office):
    first, second, third = office.keys
    assert office.ok("list") == "no verdicts\n"
    assert office.ok("add", first, "false_positive", "--who", "anna", "--reason", "a\x1b[2Jtent") == (
        f"{first}: closed as false_positive\n"
    )
    assert office.ok("add", second, "fixed") == f"{second}: open\n"
    office.ok("add", third, "skipped", "--who", "bert")
    listed = office.ok("list")
    assert "\x1b" not in listed and listed.index(first) < listed.index(second) < listed.index(third)
    told = [json.loads(line) for line in office.ok("list", "--json").splitlines()]
    assert [(one["key"], one["verdict"], one["who"], one["came_by"]) for one in told] == [
        (first, "false_positive", "anna", "command line"), (second, "fixed", None, "command line"),
        (third, "skipped", "bert", "command line"),
    ]
    assert all(one["model"] == "net@1" and one["evidence"]["model"] == "net@1" for one in told)
    for words, count in [
        (["--verdict", "fixed"], 1), (["--verdict", "fixed", "--verdict", "skipped"], 2), (["--who", "bert"], 1),
        (["--key", first], 1), (["--kind", "gone"], 0), (["--kind", "missing", "--limit", "2"], 2),
        (["--since", "2999-01-01"], 0), (["--came-by", "osmose"], 0), (["--detector", "building"], 3),
    ]:
        assert len(office.ok("list", "--json", *words).splitlines()) == count, words
    # the map does not show what is called fixed: nobody else is asked for a while
    assert office.ledger.find(second).hidden_until is not None


def test_what_was_exported_is_taken_in_elsewhere_once(office, tmp_path):
    first, second, third = office.keys
    office.ok("add", first, "false_positive", "--who", "anna", "--reason", 'a "tent", or two\nof them')
    office.ok("add", second, "too_hard", "--who", "bert", "--reason", "ŵ")
    kept = office.ledger.all("SELECT key, verdict, who, reason, at, came_by FROM review ORDER BY id")
    for fmt in ("csv", "jsonl"):
        out = tmp_path / f"verdicts.{fmt}"
        office.ok("export", "--format", fmt, "--out", out)
        assert "0 verdicts taken in, 2 known before" in office.ok("import", out)
        with office.ledger.cursor() as cursor:
            cursor.execute("DELETE FROM review")
        assert "2 verdicts taken in, 0 known before" in office.ok("import", out)
        assert office.ledger.all("SELECT key, verdict, who, reason, at, came_by FROM review ORDER BY id") == [
            (key, verdict, who, reason, at, way) for key, verdict, who, reason, at, way in kept
        ]
        assert "0 verdicts taken in, 2 known before" in office.ok("import", out)
    assert office.ledger.find(third).closed_as is None


def test_an_export_holds_geometry_evidence_and_whom_to_name(office):
    first, *_ = office.keys
    office.ok("add", first, "false_positive", "--who", "anna")
    whole = json.loads(office.ok("export", "--format", "geojson"))
    (feature,) = whole["features"]
    assert feature["geometry"]["type"] == "Polygon" and len(feature["geometry"]["coordinates"][0]) == 5
    assert feature["properties"]["evidence"] == {"model": "net@1"}
    assert feature["properties"]["confidence"] == 0.8 and feature["properties"]["verdict"] == "false_positive"
    assert "OpenStreetMap" in whole["attribution"]
    (line,) = office.ok("export").splitlines()
    assert json.loads(line)["geometry"] == feature["geometry"] and "OpenStreetMap" in json.loads(line)["attribution"]
    (row,) = csv.DictReader(io.StringIO(office.ok("export", "--format", "csv")))
    assert row["geometry"].startswith("POLYGON ((") and json.loads(row["evidence"]) == {"model": "net@1"}
    assert json.loads(office.ok("export", "--format", "geojson", "--verdict", "fixed"))["features"] == []


def test_a_file_without_times_counts_once(office, tmp_path):
    first, second, _ = office.keys
    file = tmp_path / "verdicts.csv"
    file.write_text(f"verdict,key,note\nskipped,{first},x\nalready_fixed, {second} ,y\nskipped,{first},again\n\n")
    assert "2 verdicts taken in, 1 known before" in office.ok("import", file)
    assert "0 verdicts taken in, 3 known before" in office.ok("import", file)
    assert office.ledger.all("SELECT came_by, detail FROM review") == [("file", {"file": "verdicts.csv"})] * 2


def test_everything_that_is_wrong_with_a_file_is_told_with_its_line_and_nothing_is_taken(office, tmp_path):
    first, *_ = office.keys
    file = tmp_path / "verdicts.csv"
    file.write_text(
        "key,verdict,at\n"
        f"{first},fixed,2026-11-22T05:08:49Z\n"
        "bld-0000000000000000,fixed,\n"
        f"{first},maybe,\n"
        ",skipped,\n"
        f"{first},skipped,yesterday\n"
        f"{first},skipped,2026-11-22T05:08:49\n"
        f"{first},skipped,2999-01-01T00:00:00Z\n"
        f"{first},skipped\n"
    )
    answer = office("import", file)
    assert answer.exit_code == 9 and "Traceback" not in answer.output
    for line, words in [
        (3, "no discrepancy has the key 'bld-0000000000000000'"), (4, "verdict 'maybe', expected one of fixed,"),
        (5, "no key"), (6, "at = 'yesterday'"), (7, "has no time zone"), (8, "still to come"), (9, "has 2 cells"),
    ]:
        told = [one for one in answer.stderr.splitlines() if f"line {line}: " in one]
        assert len(told) == 1 and words in told[0], answer.stderr
    assert "7 problems" in answer.stderr and "line 2" not in answer.stderr
    assert office.ok("list") == "no verdicts\n"


def test_what_is_no_file_of_verdicts_is_refused(office, tmp_path):
    file = tmp_path / "verdicts.txt"
    for text, words in [
        ("", "should name the columns"), ("a,b\n1,2\n", "should name the columns"), ("\xff\xfe", "not UTF-8"),
        ('{"key": "bld-1", "verdict": 3}\n[1]\n{"key"\n', "line 3: is not JSON"), ('{"key": ["x"]}', "expected text"),
    ]:
        file.write_bytes(text.encode("latin-1"))
        answer = office("import", file)
        assert answer.exit_code == 9 and words in answer.stderr and "Traceback" not in answer.output, answer.output


def test_verdicts_that_were_taken_back_are_left_out(office, tmp_path):
    first, *_ = office.keys
    file = tmp_path / "verdicts.jsonl"
    lines = [{"key": first, "verdict": "false_positive", "overturned": "2026-11-22T05:08:49Z"}]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    assert "0 verdicts taken in, 0 known before, 1 left out" in office.ok("import", file)


def test_the_ranking_is_replayed_and_judged_by_what_was_logged(office):
    (found,) = json.loads(office.ok(
        "replay-ranking", "--json", "--seeds", "2", "--days", "3", "--claims", "300", "--miscalibration", "1"
    ))
    assert set(found["accepted"]) == {"confidence", "ranking", "oracle"}
    assert "nothing is known" in office.ok("replay-ranking", "--logged")
    assert json.loads(office.ok("replay-ranking", "--logged", "--json"))["choices"] == 0
