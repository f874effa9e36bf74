"""`mapgap init` writes a configuration that works, and never over another one unasked."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.__main__ import main
from daemon.config import load
from daemon.errors import ConfigError
from daemon.init import first_config, write_config

BOX = "85.50,27.61,85.55,27.65"


def init(*words: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, words)])


def test_a_bounding_box_is_all_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    answer = init("--bbox", BOX, "--name", "banepa", "--contact", "me@example.org", "--out", path)
    assert answer.exit_code == 0 and f"mapgap check --config {path}" in answer.stdout
    config = load(path)
    assert config.area.bbox == (85.5, 27.61, 85.55, 27.65) and config.area.name == "banepa"
    assert config.client.contact == "me@example.org"
    assert [s.name for s in config.imagery] == ["openaerialmap"]


def test_imagery_of_ones_own_is_written_with_its_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    permitted = ("--licence", "CC0-1.0", "--attribution", "Me", "--osm-permission", "my own flight")
    for url, kind, out in (
        ("tiles", "xyz", "config.toml"), ("flight.TIF", "geotiff", "etc/config.toml"),
        ("https://example.org/{z}/{x}/{y}.png", "xyz", "web.toml"),
    ):
        answer = init(
            "--bbox", BOX, "--imagery-url", url, *permitted, "--acquired", "2024-05-01", "--out", out
        )
        assert answer.exit_code == 0, answer.stderr
        (source,) = load(out).imagery
        assert (source.kind, source.acquired, source.licence) == (kind, date(2024, 5, 1), "CC0-1.0")
        assert source.url == (url if "://" in url else str(tmp_path / url)), "as seen from where it was typed"


def test_services_tables_and_entries_of_an_index_are_told_apart(tmp_path: Path) -> None:
    index = tmp_path / "imagery.geojson"
    index.write_text('{"type": "Feature", "properties": {"id": "a", "url": "https://example.org/{zoom}/{x}/{y}"}}')
    permitted = ("--licence", "CC0-1.0", "--attribution", "Me", "--osm-permission", "my own flight")
    for i, (url, more, expected) in enumerate((
        ("https://example.org/wms?", (*permitted, "--imagery-layer", "ortho"), ("wms", "ortho", "")),
        ("postgresql://me@db/gis", (*permitted, "--imagery-layer", "public.ortho"), ("postgis", "public.ortho", "")),
        (str(index), ("--imagery-entry", "a"), ("index", "", "a")),
    )):
        path = tmp_path / f"{i}.toml"
        answer = init("--bbox", BOX, "--imagery-url", url, *more, "--out", path)
        assert answer.exit_code == 0, answer.stderr
        (source,) = load(path).imagery
        assert (source.kind, source.layer, source.entry) == expected


def test_imagery_without_permission_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    answer = init("--bbox", BOX, "--imagery-url", "tiles", "--licence", "CC0-1.0", "--out", path)
    assert answer.exit_code == 2 and not path.exists()
    assert "imagery[0].attribution" in answer.stderr and "imagery[0].osm_permission" in answer.stderr


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "10,50,9,51", "nan,0,1,1", "0,0,200,1", ""])
def test_a_box_that_is_none_is_refused(tmp_path: Path, box: str) -> None:
    answer = init("--bbox", box, "--out", tmp_path / "config.toml")
    assert answer.exit_code == 2 and "Traceback" not in answer.output and answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("precious")
    answer = init("--bbox", BOX, "--out", path)
    assert answer.exit_code == 2 and "--force" in answer.stderr and path.read_text() == "precious"
    assert init("--bbox", BOX, "--out", path, "--force").exit_code == 0
    assert load(path).area.bbox is not None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "config.toml", tmp_path / "nowhere" / "config.toml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be written|exists already"):
            write_config(first_config((0, 0, 1, 1)), path)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"area\.name"):
        first_config((0, 0, 1, 1), name="A Town")
