"""What mappers see below a challenge: the imagery its claims were made from, and nothing that is not for anybody."""

from __future__ import annotations

import json

import pytest
from claims import missing
from desk import Desk

from daemon.config import Imagery
from daemon.publish.maproulette.basemap import basemaps_of, is_public

OLD, NEW = ("https://tiles.example.org/" + year + "/{z}/{x}/{y}.jpg" for year in ("2019", "2024"))


def source(name: str, url: str, kind: str = "xyz", **more: str) -> Imagery:
    told = {} if kind == "index" else {"licence": "x", "attribution": "© Somebody", "osm_permission": "x"}
    return Imagery(name=name, kind=kind, url=url, **{**told, **more})


def with_sources(desk: Desk, *sources: Imagery) -> None:
    desk.config = desk.config.model_copy(update={"imagery": sources})
    desk.restart()


def shown(desk: Desk) -> dict[str, object]:
    (challenge,) = desk.fake.world.challenges.values()
    return {name: challenge.fields[name] for name in ("defaultBasemap", "customBasemap", "defaultBasemapId")}


def claims(desk: Desk, first: int, count: int, imagery: str) -> list:
    return [missing(desk.outline(i), imagery=imagery) for i in range(first, first + count)]


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://tiles.example.org/{z}/{x}/{y}.jpg", True),
        ("https://tiles.example.org/{zoom}/{x}/{y}.jpg", True),
        ("http://tiles.example.org:8080/a/{z}/{x}/{y}", True),
        ("https://tiles.example.org/{z}/{x}/{y}.jpg?key=abc", False),
        ("https://me:secret@tiles.example.org/{z}/{x}/{y}.jpg", False),
        ("https://tiles.example.org/5f2b1c9ad0e74f6b8a3c/{z}/{x}/{y}.jpg", False),
        ("https://localhost/{z}/{x}/{y}.jpg", False),
        ("https://192.168.1.5/{z}/{x}/{y}.jpg", False),
        ("https://imagery.internal/{z}/{x}/{y}.jpg", False),
        ("https://tiles.example.org/{z}/{x}/{-y}.jpg", False),
        ("file:///data/tiles/{z}/{x}/{y}.jpg", False),
        ("/data/tiles", False),
    ],
)
def test_only_imagery_that_anybody_may_load_is_a_basemap(desk: Desk, url: str, public: bool) -> None:
    one = source("aerial", url)
    assert is_public(one) is public
    config = desk.config.model_copy(update={"imagery": (one,)})
    told = {"defaultBasemap": 3, "customBasemap": url.replace("{zoom}", "{z}")} if public else {}
    assert basemaps_of(config) == {"aerial": told}


def test_an_entry_of_an_index_that_is_no_such_server_is_told_by_its_id(desk: Desk, tmp_path) -> None:
    said = {
        "id": "Paint-2021", "name": "Paint", "type": "wms", "license_url": "https://example.org/licence",
        "url": "https://example.org/wms?REQUEST=GetMap&BBOX={bbox}&WIDTH={width}&HEIGHT={height}&SRS={proj}",
        "attribution": {"text": "© Painters"}, "permission_osm": "explicit", "available_projections": ["EPSG:3857"],
    }
    path = tmp_path / "index.geojson"
    path.write_text(json.dumps({"type": "Feature", "properties": said, "geometry": None}))
    with_sources(desk, source("paint", str(path), "index", entry="Paint-2021"))
    desk.show(*claims(desk, 0, 1, "paint"))
    desk.cycle()
    assert shown(desk) == {"defaultBasemap": 4, "defaultBasemapId": "Paint-2021", "customBasemap": None}


def test_a_basemap_of_ones_own_is_taken_as_it_is(desks) -> None:
    own = "https://tiles.example.org/key123/{z}/{x}/{y}.png"
    desk = desks(basemap=own)
    desk.houses(1)
    desk.cycle()
    assert (shown(desk)["defaultBasemap"], shown(desk)["customBasemap"]) == (3, own)


def test_it_is_the_imagery_that_most_claims_of_a_challenge_were_made_from(desk: Desk) -> None:
    with_sources(desk, source("old", OLD), source("new", NEW))
    desk.show(*claims(desk, 0, 1, "old"), *claims(desk, 1, 2, "new"))
    desk.cycle()
    assert shown(desk)["customBasemap"] == NEW
    (made,) = [one.json for one in desk.fake.requests if one.endpoint == "challenge_create"]
    assert made["customBasemap"] == NEW, "from the beginning"


def test_claims_without_imagery_of_the_configuration_show_its_first_source(desk: Desk) -> None:
    with_sources(desk, source("old", OLD), source("new", NEW))
    desk.show(*claims(desk, 0, 2, "given up"))
    desk.cycle()
    assert shown(desk)["customBasemap"] == OLD


def test_it_follows_the_claims_only_when_twice_as_many_come_from_elsewhere(desk: Desk) -> None:
    with_sources(desk, source("old", OLD), source("new", NEW), source("mine", "/data/tiles"))
    desk.show(*claims(desk, 0, 2, "old"))
    desk.cycle()
    for first, count, imagery, expected in ((2, 3, "new", OLD), (5, 1, "new", NEW), (6, 3, "old", NEW)):
        desk.show(*claims(desk, first, count, imagery))
        desk.cycle()
        desk.cycle()
        assert shown(desk)["customBasemap"] == expected
        with desk.unchanged():
            desk.cycle()
    desk.forget_everything()
    desk.restart()
    with desk.unchanged():
        desk.cycle()
    assert shown(desk)["customBasemap"] == NEW, "what is shown may stay, also when nobody remembers having chosen it"


def test_a_rehearsal_tells_the_same_basemap(desk: Desk, caplog) -> None:
    with_sources(desk, source("old", OLD), source("new", NEW))
    desk.show(*claims(desk, 0, 1, "old"), *claims(desk, 1, 2, "new"))
    desk.rehearse()
    with caplog.at_level("INFO"):
        desk.cycle()
    (line,) = [line for line in caplog.text.splitlines() if "would send POST /challenge " in line]
    assert f'"customBasemap":"{NEW}"' in line
