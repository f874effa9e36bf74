"""A whole scenario in a directory, as `mapgap replay` reads it: base map, change files, imagery, truth.

    base.osm.pbf                                the map before the first minute
    replication/minute/000/000/001.osc.gz ...   one change file a minute, with state files
    imagery/{z}/{x}/{y}.jpg                     tiles of the rendered town
    truth.json                                  what is wrong with the map, at first and after every minute
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import mapping

from daemon.demo.map_editor import MapEditor
from daemon.demo.osm_files import write_change, write_pbf, write_state
from daemon.demo.place import ZOOM, Place, area_m2, tiles_under
from daemon.demo.story import PLANS, House, Story
from daemon.errors import MapgapError
from detectors.training.rendered import draw_town

#: The map before the first minute was made then, and the first minute begins at START.
DRAFTED = datetime(2024, 5, 1, tzinfo=UTC)
START = datetime(2024, 6, 1, tzinfo=UTC)
NAME = "rendered"
DEFINITIONS = {
    "missing": "a building of the rendered town (centroid inside the area) that no OSM way stands for",
    "ghost": "an OSM building way where the town has no building",
    "shifted": "an OSM way that stands for a building but lies 3-6 m off",
    "ignore": "score neither way; there is none, as the town is known exactly",
}


def write_scenario(directory: Path, seed: int, minutes: int = 60, *, columns: int = 6, rows: int = 5) -> Path:
    """Draw a town, map it badly, edit the map for `minutes`, and write all of it down.

    Args:
        directory: made if absent; must be empty.
        seed: the same seed and sizes give the same files, byte by byte.
        columns, rows: size of the area in tiles of zoom 19.

    Returns:
        `directory`.

    Raises:
        MapgapError: the directory holds something already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise MapgapError(f"{directory} is not empty: name a new directory for the scenario, or remove this one")
    place = Place(columns, rows)
    town = draw_town(seed, place.shape, place.gsd_m)
    editor = MapEditor(DRAFTED)
    story = Story(town, place, editor, np.random.default_rng([seed, 2]))
    story.draft()
    place.write_imagery(town.pixels, directory / "imagery")
    write_pbf(directory / "base.osm.pbf", editor.current(), _around(place.bbox), START)
    replication = directory / "replication" / "minute"
    write_state(replication, 0, START)
    truth: dict[str, Any] = {
        "split": "demo",
        "made_by": f"mapgap demo, seed {seed}",
        "rendered": True,
        "base": "base.osm.pbf",
        "sequence_start": 0,
        "sequence_end": minutes,
        "imagery": {
            "acquired": "2024-06-02",
            "licence": "MIT",
            "attribution": "rendered by mapgap; not imagery of a real place",
            "osm_permission": "made up: nothing here may be drawn into OpenStreetMap",
        },
        "areas": {NAME: {"z19_tiles": [[t.x, t.y] for t in place.tiles], "bbox": list(place.bbox)}},
        "definitions": DEFINITIONS,
        "ids": "all made up: ids, versions, timestamps, users, and the town itself",
        "initial_open": story.open(),
        "curated": [],
    }
    truth["buildings"] = [_building(story, house) for house in story.houses]
    truth["sequences"] = [
        _minute(story, sequence, plan, replication) for sequence, plan in enumerate(_plans(story.rng, minutes), start=1)
    ]
    truth["ghosts"] = [_ghost(way, ghost) for way, ghost in story.ghosts.items()]
    truth["counts"] = {
        "labels": len(truth["buildings"]),
        "centroid_in_area": sum(b["in_area"] for b in truth["buildings"]),
        **{kind: len(ids) for kind, ids in truth["initial_open"].items()},
    }
    (directory / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return directory


def _plans(rng: np.random.Generator, minutes: int) -> list[str]:
    """One plan a minute; every kind occurs once the hour is long enough, and some minutes mix several."""
    names, odds = list(PLANS), np.array(list(PLANS.values()))
    each = [*names, "mixed", "empty"][:minutes]
    rest = rng.choice([*names, "mixed"], size=minutes - len(each), p=[*(odds / odds.sum() * 0.85), 0.15])
    return [str(p) for p in rng.permutation([*each, *rest])]


def _minute(story: Story, sequence: int, plan: str, replication: Path) -> dict[str, Any]:
    now = START + timedelta(minutes=sequence)
    before = story.open()
    story.editor.begin(now)
    story.minute(plan)
    write_change(replication, sequence, now, story.editor.versions)
    after = story.open()
    return {
        "sequence": sequence,
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "plan": plan,
        "ops": story.ops,
        "tiles_touched": {
            str(z): [list(t) for t in sorted({t for g in story.editor.touched for t in tiles_under(g, z)})]
            for z in (ZOOM, ZOOM + 1)
        },
        "opened": {kind: sorted(set(after[kind]) - set(before[kind])) for kind in after},
        "closed": {kind: sorted(set(before[kind]) - set(after[kind])) for kind in after},
        "open_after": {kind: len(ids) for kind, ids in after.items()},
        "open_ids_after": after,
    }


def _building(story: Story, house: House) -> dict[str, Any]:
    geometry = story.place.to_lonlat(house.outline)
    iou = None
    if house.initial == "shifted":
        mapped = story.editor.geometry(house.way)
        iou = round(mapped.intersection(geometry).area / mapped.union(geometry).area, 3)
    return {
        "id": house.id,
        "place": NAME,
        "id_is_real": False,
        "in_area": house.in_area,
        "area_m2": round(area_m2(geometry), 1),
        "initial": house.initial,
        "shift_m": list(house.shift) if house.initial == "shifted" else None,
        "iou_initial": iou,
        "true_geometry": mapping(geometry),
        "tiles": _tiles(geometry),
    }


def _ghost(way: int, ghost: dict[str, Any]) -> dict[str, Any]:
    geometry = ghost["geometry"]
    return {
        "id": way, "place": NAME, "area_m2": round(area_m2(geometry), 1), "in_base": ghost["in_base"],
        "geometry": mapping(geometry), "tiles": _tiles(geometry),
    }


def _tiles(geometry: Any) -> dict[str, list[list[int]]]:
    return {f"z{z}": [list(t) for t in sorted(tiles_under(geometry, z))] for z in (ZOOM, ZOOM + 1)}


def _around(bbox: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The extract's box: the picture's, and about 200 m around it, as streets and roofs go on."""
    west, south, east, north = bbox
    return west - 0.002, south - 0.002, east + 0.002, north + 0.002
