"""One typed configuration: every knob explained, every mistake told at once, secrets never in the file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import Config, Database, Imagery, Section, load, parse, password, render
from daemon.errors import ConfigError
from daemon.init import example

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = {
    "name": "paint", "kind": "xyz", "url": "https://example.org/{z}/{x}/{y}.png", "licence": "CC0-1.0",
    "attribution": "Painters", "osm_permission": "https://example.org/yes",
}


def sections(section: type[Section] = Config, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every knob of the configuration as (key, field)."""
    for name, field in section.model_fields.items():
        kind = Imagery if name == "imagery" else field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from sections(kind, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def problems_of(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(values, "test", Path("/etc/mapgap"))
    assert str(caught.value).startswith(f"test: {len(caught.value.problems)} problem")
    return caught.value.problems


def test_nothing_has_to_be_configured() -> None:
    config = parse({}, "test", Path("/etc/mapgap"))
    assert config.data_dir == Path("/etc/mapgap/mapgap-data")
    assert config.database.dsn == "" and config.imagery == () and config.publish.dir is None
    assert config.replication.url == "https://planet.openstreetmap.org/replication/minute"


@pytest.mark.parametrize(("key", "field"), list(sections()))
def test_every_knob_is_explained_and_has_its_unit(key: str, field: Any) -> None:
    assert len(field.description or "") > 10 or key == "detectors.building.enabled", key
    if field.annotation in (int, float):
        assert (field.json_schema_extra or {}).get("unit"), f"{key} is a number without a unit"


def test_the_example_is_what_the_program_renders_and_loads() -> None:
    assert (REPOSITORY / "config.toml").read_text() == render(example())
    config = load(REPOSITORY / "config.toml")
    assert config == parse(tomllib.loads(render(example())), "test", REPOSITORY)
    assert config.data_dir == REPOSITORY / "mapgap-data"
    assert config.area.name == "banepa" and config.imagery[0].licence == "CC-BY-4.0"


def test_the_example_shows_every_knob_with_its_meaning() -> None:
    text = (REPOSITORY / "config.toml").read_text()
    for key, field in sections():
        name = key.rpartition(".")[2]
        assert any(
            line.lstrip("# ").startswith(f"{name} =") and field.description in line for line in text.splitlines()
        ), key
    assert max(map(len, text.splitlines())) < 200


def test_the_example_says_nothing_else_than_the_defaults() -> None:
    told = parse(tomllib.loads((REPOSITORY / "config.toml").read_text()), "test", Path())
    assert told.model_copy(update={"area": Config().area, "client": Config().client, "imagery": ()}) == Config()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    attribution=TEXT.filter(str.strip), permission=TEXT.filter(str.strip), dsn=TEXT,
    bbox=st.tuples(st.floats(-180, 0), st.floats(-90, 0), st.floats(0.1, 180), st.floats(0.1, 90)) | st.none(),
    rate=st.floats(1e-9, 1e12), acquired=st.dates(), nodata=st.lists(st.integers(0, 255), min_size=3, max_size=3),
)
def test_what_is_rendered_says_the_same_when_it_is_read(
    attribution: str, permission: str, dsn: str, bbox: Any, rate: float, acquired: Any, nodata: list[int]
) -> None:
    told = {"attribution": attribution, "osm_permission": permission, "acquired": acquired, "nodata": nodata}
    source = {**SOURCE, **told}
    values = {"database": {"dsn": dsn}, "client": {"rate": rate}, "imagery": [source], "data_dir": "/var/lib/mapgap"}
    config = parse({**values, "area": {"bbox": bbox}}, "test", Path("/"))
    assert parse(tomllib.loads(render(config)), "test", Path("/elsewhere")) == config


WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"area": {"bbox": [10.0, 50.0, 9.0, 51.0]}}, "area.bbox", "[10.0, 50.0, 9.0, 51.0]", "west < east"),
    ({"area": {"bbox": [10.0, 50.0, 11.0]}}, "area.bbox[3]", "", "required"),
    ({"area": {"bbox": [1.0, 2.0, 3.0, 4.0], "polygon": "a.poly"}}, "area", "", "not both"),
    ({"area": {"name": "A Town"}}, "area.name", "'A Town'", "pattern"),
    ({"replication": {"url": "ftp://x"}}, "replication.url", "'ftp://x'", "https?|file"),
    ({"replication": {"poll_interval": 0}}, "replication.poll_interval", "0", "greater than or equal to 1"),
    ({"replication": {"poll_interval": math.nan}}, "replication.poll_interval", "nan", "finite"),
    ({"schedule": {"retry_most": math.inf}}, "schedule.retry_most", "inf", "finite"),
    ({"tiling": {"zoom": 23}}, "tiling.zoom", "23", "less than or equal to 22"),
    ({"tiling": {"zoom": "high"}}, "tiling.zoom", "'high'", "integer"),
    ({"tiling": {"mode": "all"}}, "tiling.mode", "'all'", "'boundary_only', 'full_area' or 'hybrid'"),
    ({"client": {"rate": 0}}, "client.rate", "0", "greater than 0"),
    ({"imagery": [{**SOURCE, "kind": "wcs"}]}, "imagery[0].kind", "'wcs'", "'wms', 'wmts'"),
    ({"imagery": [SOURCE, {**SOURCE, "name": "b", "nodata": [1, 2]}]}, "imagery[1].nodata", "[1, 2]", "of 3 bands"),
    ({"imagery": [{**SOURCE, "nodata": [1, 2, 256]}]}, "imagery[0].nodata", "256", "numbers of 8 bits"),
    ({"imagery": [{**SOURCE, "nodata": [1, 2, 70000]}]}, "imagery[0].nodata[2]", "70000", "equal to 65535"),
    ({"imagery": [{**SOURCE, "bands": [0]}]}, "imagery[0].bands[0]", "0", "greater than or equal to 1"),
    ({"imagery": [{**SOURCE, "depth": 12}]}, "imagery[0].depth", "12", "8 or 16"),
    ({"imagery": [{**SOURCE, "stretch": [9, 1]}]}, "imagery[0].stretch", "[9, 1]", "[lowest, highest]"),
    ({"imagery": [{**SOURCE, "date_url": "https://example.org/{quadkey}"}]}, "imagery[0]", "", "date_field"),
    ({"imagery": [{**SOURCE, "crs": "UTM 45"}]}, "imagery[0].crs", "'UTM 45'", "pattern"),
    ({"imagery": [{**SOURCE, "kind": "postgis", "url": "postgresql://me:secret@db/gis"}]}, "imagery[0]", "", "key_env"),
    ({"imagery": [SOURCE, {**SOURCE, "name": "b", "bands": [1]}]}, "file", "", "b gives 1 of 8 bits"),
    ({"mosaic": {"ranking": "best"}}, "mosaic.ranking", "'best'", "'order', 'newest' or 'finest'"),
    ({"imagery": [SOURCE, SOURCE]}, "file", "", "two sources are called 'paint'"),
    ({"imagery": {"name": "x"}}, "imagery", "", "tuple"),
    ({"imagery": [{k: v for k, v in SOURCE.items() if k != "url"}]}, "imagery[0].url", "", "required but not given"),
    ({"detectors": {"building": {"gone": 1.0}}}, "detectors.building.gone", "1.0", "less than 1"),
    ({"detectors": {"engine": "tf"}}, "detectors.engine", "'tf'", "'auto', 'openvino', 'onnx' or 'mxnet'"),
    ({"log": {"level": "loud"}}, "log.level", "'loud'", "'debug'"),
    ({"data_dir": "a\0b"}, "data_dir", "", "NUL"),
    ({"database": {"password": "hunter2"}}, "database.password", "", "unknown key"),
    ({"databse": {}}, "databse", "", "unknown key"),
    ({"publish": {"directory": "x"}}, "publish.directory", "", "unknown key"),
    ({"maproulette": {"url": "http://maproulette.org/api/v2"}}, "maproulette.url", "'http://m", "in the clear"),
    ({"maproulette": {"url": "maproulette.org"}}, "maproulette.url", "'maproulette.org'", "the base of an API"),
    ({"maproulette": {"url": "https://me:hunter2@x.org/"}}, "maproulette.url", "***@", "the base of an API"),
    ({"maproulette": {"enabled": True, "api_key_env": "KEY"}}, "maproulette", "", "needs maproulette.project"),
    ({"maproulette": {"enabled": True, "project": "town"}}, "maproulette", "", "needs maproulette.api_key_env"),
    ({"maproulette": {"api_key": "hunter2"}}, "maproulette.api_key", "", "unknown key"),
    ({"data_dir": "~nobody-at-all/x"}, "a path begins with ~", "", "home"),
]


@pytest.mark.parametrize(("values", "key", "shown", "expected"), WRONG)
def test_a_wrong_key_is_named_with_its_value_and_what_is_expected(
    values: dict[str, Any], key: str, shown: str, expected: str
) -> None:
    (problem,) = problems_of(values)
    assert problem.startswith(f"{key}:") and shown in problem and expected in problem
    assert "hunter2" not in problem


def test_all_mistakes_are_told_at_once_with_missing_permissions_among_them() -> None:
    bare = {"name": "bare", "kind": "xyz", "url": "tiles", "licence": " "}
    values = {
        "datadir": "x", "tiling": {"zoom": 99, "block": 0}, "client": {"rate": -1}, "log": {"level": "x"},
        "imagery": [SOURCE, bare, "not a table"], "area": {"bbox": [0, 0, 0, 0]},
    }
    keys = [problem.partition(":")[0] for problem in problems_of(values)]
    assert keys == [
        "area.bbox", "tiling.zoom", "tiling.block", "client.rate", "imagery[2]", "log.level", "datadir",
        "imagery[1].licence (bare)", "imagery[1].attribution (bare)", "imagery[1].osm_permission (bare)",
        "imagery[2].licence (without a name)", "imagery[2].attribution (without a name)",
        "imagery[2].osm_permission (without a name)",
    ]


@pytest.mark.parametrize("key", ["licence", "attribution", "osm_permission"])
@pytest.mark.parametrize("text", [None, "", " \t "])
def test_imagery_that_does_not_say_why_it_may_be_used_is_refused(key: str, text: str | None) -> None:
    source = {k: v for k, v in {**SOURCE, key: text}.items() if v is not None}
    (problem,) = problems_of({"imagery": [source]})
    assert problem.startswith(f"imagery[0].{key} (paint): empty") and "refused" in problem


def test_paths_are_taken_from_the_directory_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "config.toml"
    path.write_text(
        'data_dir = "state"\n[area]\npolygon = "town.poly"\n[database]\npassword_file = "../secret"\n'
        '[maproulette]\napi_key_file = "key"\n'
        '[publish]\ndir = "/srv/feed"\n'
        + "".join(
            f'[[imagery]]\nname = "{name}"\nkind = "xyz"\nurl = "{url}"\nlicence = "x"\nattribution = "x"\n'
            'osm_permission = "x"\n'
            for name, url in (("a", "tiles"), ("b", "https://example.org/{z}/{x}/{y}"), ("c", "~/tiles"))
        )
    )
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    for config in (load(path), load("etc/config.toml")):
        assert config.data_dir == tmp_path / "etc" / "state"
        assert config.area.polygon == tmp_path / "etc" / "town.poly"
        assert config.database.password_file == tmp_path / "etc" / ".." / "secret"
        assert config.maproulette.api_key_file == tmp_path / "etc" / "key"
        assert config.publish.dir == Path("/srv/feed")
        assert [s.url for s in config.imagery] == [
            str(tmp_path / "etc" / "tiles"), "https://example.org/{z}/{x}/{y}", "/home/me/tiles",
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "mapgap init"), (b"zoom = = 3", "not valid TOML"), (b"\xff\xfe", "cannot be read"),
        (b"a = " + b"[" * 20_000, "not valid TOML"), (b"zoom = " + b"9" * 5000, "not valid TOML"),
        (b"[tiling]\n[tiling]", "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path)
    assert caught.value.exit_code == 2 and str(path) in str(caught.value)


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().tiling.zoom = 3  # type: ignore[misc]


def test_the_password_comes_from_the_environment_or_a_file_of_the_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    assert password(Database()) is None
    assert password(Database(password_file=secret)) == "hunter2"
    monkeypatch.setenv("MAPGAP_TEST_PASSWORD", "hunter3")
    assert password(Database(password_env="MAPGAP_TEST_PASSWORD", password_file=secret)) == "hunter3"
    monkeypatch.delenv("MAPGAP_TEST_PASSWORD")
    with pytest.raises(ConfigError, match="MAPGAP_TEST_PASSWORD is not set"):
        password(Database(password_env="MAPGAP_TEST_PASSWORD"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_password_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        password(Database(password_file=secret))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_password_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot be read"):
        password(Database(password_file=secret))
