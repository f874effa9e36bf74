"""A detector of another distribution: told of by an entry point only, it appears wherever detectors appear."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import requests
from fake_maproulette import FakeMapRoulette
from osm_world import node, way, write_extract

from daemon.tiling.grid import TILE_PX, Block

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = REPOSITORY / "tests" / "plugins"
#: Four tiles of grass in Banepa, with pools as (column, row, width, height) in pixels.
GROUND = Block(19, 193345, 110120, 2)
MAPPED, UNMAPPED, FILLED_IN = (60, 60, 40, 24), (300, 200, 48, 30), (150, 380, 44, 28)
BLUE, GRASS = (60, 150, 220), (90, 120, 60)


def register(directory: Path, name: str = "pool", target: str = "mapgap_pools:PLUGIN") -> None:
    """What pip leaves of a distribution that offers a detector."""
    about = directory / f"mapgap_{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mapgap-{name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[mapgap.detectors]\n{name} = {target}\n")


class House:
    """An installation whose Python has the plug-in's distribution."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.site = directory / "site"
        self.secrets: dict[str, str] = {}

    def popen(self, *words: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(self.site), str(PLUGINS), str(REPOSITORY)])
        return subprocess.Popen(
            [sys.executable, "-m", "daemon", *words], cwd=self.directory, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, **self.secrets, "PYTHONPATH": path},
        )

    def mapgap(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.popen(*words)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The address of `mapgap serve`, for the length of the block."""
        process = self.popen("serve")
        try:
            assert process.stderr is not None
            told = next(found for line in process.stderr if (found := re.search(r"http://[0-9.]+:\d+", line)))
            yield told[0]
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def say(self, *words: str) -> str:
        done = self.mapgap(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


def corners(pool: tuple[int, int, int, int]) -> list[tuple[float, float]]:
    """(lon, lat) of a pool's corners."""
    column, row, width, height = pool
    west, south, east, north = GROUND.lonlat()
    across, down = (east - west) / (GROUND.side * TILE_PX), (north - south) / (GROUND.side * TILE_PX)
    ends = [(column, row), (column + width, row), (column + width, row + height), (column, row + height)]
    return [(west + across * c, north - down * r) for c, r in ends]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two of three pools are on the ground, and another two of the three on the map."""
    ground = np.full((GROUND.side * TILE_PX, GROUND.side * TILE_PX, 3), GRASS, np.uint8)
    for column, row, width, height in (MAPPED, UNMAPPED):
        ground[row : row + height, column : column + width] = BLUE
    ground += np.random.default_rng(1).integers(0, 20, ground.shape, np.uint8)  # an even surface counts as blank
    for i, tile in enumerate(GROUND.tiles()):
        row, column = divmod(i, GROUND.side)
        pixels = ground[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
        path = tmp_path / "imagery" / str(tile.z) / str(tile.x) / f"{tile.y}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    things = []
    for number, pool in enumerate((MAPPED, FILLED_IN), start=1):
        refs = [10 * number + i for i in range(4)]
        things += [node(ref, lon, lat) for ref, (lon, lat) in zip(refs, corners(pool), strict=True)]
        things.append(way(number, [*refs, refs[0]], tags={"leisure": "swimming_pool"}))
    header = {"osmosis_replication_sequence_number": "0", "osmosis_replication_timestamp": "2024-01-01T00:00:00Z"}
    write_extract(tmp_path / "base.osm.pbf", things, header)
    feed = tmp_path / "replication"
    feed.mkdir()
    (feed / "state.txt").write_text("sequenceNumber=0\ntimestamp=2024-01-01T00\\:00\\:00Z\n")
    register(tmp_path / "site")
    (tmp_path / "config.toml").write_text(f"""
        [replication]
        url = "{feed.as_uri()}"
        [[imagery]]
        name = "painted"
        kind = "xyz"
        url = "imagery"
        acquired = 2024-06-02
        licence = "MIT"
        attribution = "mapgap"
        osm_permission = "made up"
        [detectors.building]
        enabled = false
        [detectors.pool]
        enabled = true
        min_area = 5.0
        [publish]
        dir = "feed"
    """)
    return House(tmp_path)


def test_it_finds_what_is_wrong_and_what_it_says_goes_everywhere(house: House) -> None:
    house.say("bootstrap", "base.osm.pbf")
    house.say("backfill")
    house.say("once")
    found = [f["properties"] for f in json.loads(house.say("export"))["features"]]
    assert sorted((f["detector"], f["kind"], f["osm"]) for f in found) == [
        ("pool", "gone", "way/2"), ("pool", "missing", None),
    ]
    assert {f["evidence"]["model"] for f in found} == {"pool@pixels"}
    root = ElementTree.fromstring(house.say("export", "--format", "osmose"))
    assert {error.get("class") for error in root.iter("error")} == {"8542001", "8542002"}
    assert "Swimming pool missing in OSM" in {text.get("title") for text in root.iter("classtext")}
    lines = (house.directory / "feed" / "maproulette.geojsonl").read_bytes().splitlines()
    tasks = [json.loads(line.strip(b"\x1e")) for line in lines]
    assert {task["features"][0]["properties"]["stroke"] for task in tasks} == {"#0066ff", "#ff8800"}
    status = json.loads(house.mapgap("status", "--json").stdout)
    assert status["models"] == {"pool": "none"} and status["discrepancies"]["pool"]["gone"] == {"published": 1}
    assert "pool: pool@pixels" in house.mapgap("check").stdout


def test_mappers_meet_it_in_maproulette_and_in_osmoses_api(house: House, maproulette: FakeMapRoulette) -> None:
    config = house.directory / "config.toml"
    config.write_text(config.read_text() + f"""
        [maproulette]
        enabled = true
        url = "{maproulette.url}"
        api_key_env = "KEY"
        project = "mapgap pools"
        [web]
        port = 0
    """)
    house.secrets["KEY"] = maproulette.owner.key
    house.say("bootstrap", "base.osm.pbf")
    house.say("backfill")
    house.say("once")
    challenges = {c.name: c.fields["instruction"] for c in maproulette.world.challenges.values()}
    assert any("pool" in name.lower() and "blue water" in text for name, text in challenges.items()), challenges
    assert len(maproulette.world.tasks) == 2
    with house.serving() as url:
        items = requests.get(f"{url}/api/0.3/items", timeout=30).json()
        numbers = {item["item"] for category in items["categories"] for item in category["items"]}
        issues = requests.get(f"{url}/api/0.3/issues?item=8542&full=true", timeout=30).json()["issues"]
    assert 8542 in numbers and {issue["class"] for issue in issues} == {8542001, 8542002}


def test_its_knobs_are_checked_and_explained_like_all_others(house: House) -> None:
    config = house.directory / "config.toml"
    config.write_text(config.read_text().replace("min_area = 5.0", "min_area = -1\ndepth = 2"))
    done = house.mapgap("check")
    assert done.returncode == 2
    assert "detectors.pool.min_area: -1; input should be greater than 0" in done.stderr
    assert "detectors.pool.depth: unknown key" in done.stderr
    house.say("init", "--bbox", "85.5,27.6,85.6,27.7", "--out", "first.toml")
    text = (house.directory / "first.toml").read_text()
    assert tomllib.loads(text)["detectors"]["pool"] == {"enabled": False, "min_area": 8.0, "blueness": 60}
    assert "smaller pools are neither claimed missing nor gone (square metres)" in text


def test_a_broken_plugin_is_named_and_keeps_nothing_else_from_working(house: House) -> None:
    register(house.site, "shed", "mapgap_sheds:PLUGIN")
    register(house.site, "building", "mapgap_pools:PLUGIN")
    assert house.mapgap("--version").returncode == 0
    told = house.mapgap("check").stdout
    assert "plug-in shed cannot be used: mapgap_sheds:PLUGIN" in told and "No module named 'mapgap_sheds'" in told
    assert "plug-in building cannot be used" in told
    config = house.directory / "config.toml"
    config.write_text(config.read_text() + "\n[detectors.shed]\nenabled = true\n")
    done = house.mapgap("check")
    assert done.returncode == 2 and "its plug-in cannot be used: mapgap_sheds:PLUGIN" in done.stderr


def test_the_package_that_the_page_describes_can_be_built(tmp_path):
    pytest.importorskip("setuptools")  # which pip brings along when it builds
    page = (REPOSITORY / "docs" / "plugins.md").read_text()
    for name in ("pyproject.toml", "setup.cfg"):
        text = page.partition(f"`{name}`:\n\n")[2]
        lines = re.match(r"(?:    .*\n|\n(?=    ))+", text)[0].splitlines()
        (tmp_path / name).write_text("\n".join(line.removeprefix("    ") for line in lines) + "\n")
    shutil.copytree(PLUGINS / "mapgap_pools", tmp_path / "mapgap_pools", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", "from setuptools import setup; setup()", "egg_info", "build", "--build-lib", "built"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "built" / "mapgap_pools").iterdir()} == {"__init__.py", "pool.toml"}
    told = (tmp_path / "mapgap_pools.egg-info" / "entry_points.txt").read_text()
    assert "[mapgap.detectors]\npool = mapgap_pools:PLUGIN" in told
