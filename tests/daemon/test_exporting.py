"""An export is a whole file or none, and says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from claims import NOW, gone, house, ledger, missing, one_ledger

from daemon.config import parse
from daemon.errors import PublishError
from daemon.exporting import context_of, write_export
from daemon.publish import ExportContext, Filter

__all__ = ["ledger", "one_ledger"]

CONTEXT = ExportContext("town", NOW, ())


def test_an_export_names_its_area_and_whom_to_credit() -> None:
    source = {
        "name": "paint", "kind": "xyz", "url": "tiles", "licence": "CC0-1.0", "attribution": "Painters",
        "osm_permission": "yes",
    }
    context = context_of(parse({"area": {"name": "town"}, "imagery": [source]}, "test", Path()))
    assert context.area == "town"
    assert [(c.name, c.attribution, c.licence) for c in context.imagery] == [("paint", "Painters", "CC0-1.0")]


@pytest.mark.parametrize("fmt", ["geojson", "maproulette", "osmose"])
def test_a_file_takes_its_place_when_it_is_whole(ledger, tmp_path: Path, fmt: str) -> None:
    ledger.open(missing(house(20, 20)), gone(house(60, 60)))
    out = tmp_path / "out"
    out.write_text("what was there before")
    assert write_export(ledger.database, fmt, out, Filter(), CONTEXT) == 2
    assert b"what was there" not in out.read_bytes() and list(tmp_path.iterdir()) == [out]


def test_what_is_chosen_is_written(ledger, tmp_path: Path) -> None:
    (key, _) = ledger.open(missing(house(20, 20)), gone(house(60, 60)))
    out = tmp_path / "out.geojson"
    assert write_export(ledger.database, "geojson", out, Filter(kinds=("missing",)), CONTEXT) == 1
    (feature,) = json.loads(out.read_text())["features"]
    assert key in json.dumps(feature)


def test_a_place_that_cannot_be_written_is_named_and_left_as_it_was(ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    for out in (tmp_path / "file" / "x", tmp_path / "nowhere" / "x", tmp_path / "directory"):
        with pytest.raises(PublishError, match="cannot be written"):
            write_export(ledger.database, "geojson", out, Filter(), CONTEXT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]
