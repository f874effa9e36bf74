"""What mappers get wrong about the demo's town, and what they do about it minute by minute.

The story keeps two books at once: the map (through `MapEditor`) and what is truly missing, gone or shifted on it. Every
edit changes both, so the truth is known after every minute without asking any detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon, box

from daemon.demo.map_editor import MapEditor
from daemon.demo.place import Place
from detectors.training.rendered import RenderedTown, Thing

#: Planted errors as shares of the buildings that lie wholly inside the picture.
MISSING, SHIFTED, GHOSTS = 0.14, 0.09, 0.06
#: Metres that a shifted building is off.
SHIFT_M = (3.0, 6.0)
#: Only buildings of this size (square metres) are used for planted errors.
ERROR_AREA = 32.0
#: What a minute may bring, and how often.
PLANS = {
    "empty": 0.22, "fix_missing": 0.13, "move_back": 0.08, "delete_ghost": 0.08, "delete_real": 0.08,
    "move_away": 0.07, "add_ghost": 0.07, "tag_only": 0.07, "redraw": 0.05, "create_delete": 0.04, "revert": 0.05,
    "outside": 0.03, "road": 0.03,
}
#: How a building was moved without its way being in the change file.
NODES_ONLY = "nodes only (the way is not in the diff)"


@dataclass(slots=True)
class House:
    """A building of the town and what the map has of it.

    Attributes:
        outline: true outline in pixels of the picture.
        id: the building's id in the truth: that of its first way, or one set aside for it.
        way: the way that stands for it now, None while it is missing.
        shift: metres east and north that the way is off.
    """

    outline: Polygon
    id: int
    tags: dict[str, str]
    way: int | None
    initial: str
    in_area: bool
    usable: bool
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Story:
    """The map, the town and the open errors; `ops` is what the current minute did."""

    town: RenderedTown
    place: Place
    editor: MapEditor
    rng: np.random.Generator
    houses: list[House] = field(default_factory=list)
    ghosts: dict[int, dict[str, Any]] = field(default_factory=dict)
    ops: list[dict[str, Any]] = field(default_factory=list)
    _roads: list[int] = field(default_factory=list)
    _removed_ghosts: list[int] = field(default_factory=list)
    _outside: int | None = None
    _taken: list[Polygon] = field(default_factory=list)

    def draft(self) -> None:
        """The first map: streets, buildings, and the planted errors."""
        for road in self.town.roads:
            for line in shapely.get_parts(road.geometry):
                kind = "residential" if road.attributes["paved"] else "track"
                self._roads.append(self.editor.draw(self.place.to_lonlat(line), {"highway": kind}))
        inside = box(0, 0, self.place.shape[1], self.place.shape[0]).buffer(-3 / self.place.gsd_m)
        frame = box(0, 0, self.place.shape[1], self.place.shape[0])
        fit = [t.geometry.within(inside) and t.attributes["area_m2"] >= ERROR_AREA for t in self.town.buildings]
        fate = self._fates(fit)
        for i, thing in enumerate(self.town.buildings):
            counted = thing.geometry.centroid.within(frame)
            house = House(thing.geometry, 0, _tags(thing), None, "ok", counted, fit[i])
            self.houses.append(house)
            if fate.get(i) == "shifted":
                house.shift, house.initial = self._shift(), "shifted"
            if fate.get(i) == "coarse":
                around = shapely.minimum_rotated_rectangle(house.outline)
                house.way = self.editor.draw(self._map_shape(house, around), house.tags)
            else:
                house.way = self.editor.draw(self._map_shape(house), house.tags)
            house.id = house.way
            if fate.get(i) == "missing":
                self._forget(house)
        for _ in range(max(3, round(GHOSTS * sum(fit)))):
            self._draw_ghost(in_base=True)
        shape = self._free_spot()
        if shape is not None:  # the map knows that this one is gone: nobody may report it
            self.editor.draw(self.place.to_lonlat(shape), {"demolished:building": "yes", "note": "pulled down in 2023"})

    def minute(self, plan: str) -> None:
        """Carry out one minute's edits; `ops` says what was done."""
        self.ops = []
        steps: dict[str, Callable[[], None]] = {
            "empty": lambda: None, "fix_missing": self._fix_missing, "move_back": self._move_back,
            "road": self._edit_road, "delete_ghost": self._delete_ghost, "delete_real": self._delete_real,
            "move_away": self._move_away, "add_ghost": self._add_ghost, "tag_only": self._tag, "redraw": self._redraw,
            "outside": self._edit_outside, "create_delete": self._create_and_delete, "revert": self._revert,
        }
        if plan == "mixed":
            for name in ("fix_missing", "delete_ghost", "move_back", "delete_real"):
                steps[name]()
        else:
            steps[plan]()
        if not self.ops:
            self.ops = [{"op": "none"}]

    def open(self) -> dict[str, list[int]]:
        """What is wrong with the map right now: ids of missing and shifted buildings, and of ghost ways."""
        counted = [h for h in self.houses if h.in_area]
        return {
            "missing": sorted(h.id for h in counted if h.way is None),
            "ghost": sorted(i for i in self.ghosts if self.editor.ways[i].visible),
            "shifted": sorted(h.id for h in counted if h.way is not None and h.shift != (0.0, 0.0)),
        }

    def _fates(self, fit: list[bool]) -> dict[int, str]:
        usable = [int(i) for i in self.rng.permutation([i for i, good in enumerate(fit) if good])]
        things = self.town.buildings
        fates = dict.fromkeys(usable[: round(MISSING * len(usable))], "missing")
        loose = [i for i in usable if i not in fates and things[i].attributes["use"] != "terrace"]
        wanted = max(1, round(SHIFTED * len(usable)))
        fates |= dict.fromkeys([i for i in loose if things[i].attributes["area_m2"] >= 45][:wanted], "shifted")
        bent = [i for i in loose if i not in fates and 0.65 < _fullness(things[i].geometry) < 0.85]
        return fates | dict.fromkeys(bent[:2], "coarse")

    def _map_shape(self, house: House, outline: Polygon | None = None) -> Polygon:
        """The outline as a careful mapper draws it (a few centimetres off), moved by the house's shift."""
        wobble = np.clip(self.rng.normal(0, 0.12, 2), -0.3, 0.3)
        moved = self.place.moved(outline or house.outline, house.shift[0] + wobble[0], house.shift[1] + wobble[1])
        return self.place.to_lonlat(moved)

    def _shift(self) -> tuple[float, float]:
        angle, length = self.rng.uniform(0, 2 * math.pi), self.rng.uniform(*SHIFT_M)
        return round(float(length * math.cos(angle)), 2), round(float(length * math.sin(angle)), 2)

    def _forget(self, house: House) -> None:
        """Take a house off the first map as if nobody had ever drawn it."""
        for ref in set(self.editor.ways[house.way].refs):
            del self.editor.nodes[ref]
        del self.editor.ways[house.way]
        house.way, house.initial = None, "missing"

    def _pick(self, count: int, test: Callable[[House], bool]) -> list[House]:
        found = [h for h in self.houses if h.usable and test(h)]
        chosen = self.rng.permutation(len(found))[:count]
        return [found[int(i)] for i in chosen]

    def _note(self, op: str, way: int, house: House | None = None, **more: Any) -> None:
        self.ops.append({"op": op, "way": way, "building": house.id if house else None, **more})

    def _fix_missing(self) -> None:
        for house in self._pick(int(self.rng.integers(1, 4)), lambda h: h.way is None):
            house.way, house.shift = self.editor.draw(self._map_shape(house), house.tags), (0.0, 0.0)
            self._note("add_missing", house.way, house)

    def _move_back(self) -> None:
        for house in self._pick(2, lambda h: h.way is not None and h.shift != (0.0, 0.0)):
            house.shift = (0.0, 0.0)
            self.editor.move(house.way, self._map_shape(house))
            self._note("move_back", house.way, house, how=NODES_ONLY)

    def _move_away(self) -> None:
        same = lambda h: len(self.editor.ways[h.way].refs) == len(h.outline.exterior.coords)  # noqa: E731
        for house in self._pick(2, lambda h: h.way == h.id and h.shift == (0.0, 0.0) and same(h)):
            house.shift = self._shift()
            self.editor.move(house.way, self._map_shape(house))
            self._note("move_away", house.way, house, how=NODES_ONLY, shift_m=list(house.shift))

    def _delete_real(self) -> None:
        for house in self._pick(int(self.rng.integers(1, 3)), lambda h: h.way is not None and h.shift == (0.0, 0.0)):
            self.editor.delete(house.way)
            self._note("delete_real", house.way, house)
            house.way = None

    def _delete_ghost(self) -> None:
        standing = self.open()["ghost"]
        for way in self.rng.permutation(standing)[:2] if standing else []:
            self.editor.delete(int(way))
            self._removed_ghosts.append(int(way))
            self._note("delete_ghost", int(way))

    def _add_ghost(self) -> None:
        way = self._draw_ghost(in_base=False)
        if way is not None:
            self._note("add_ghost", way)

    def _create_and_delete(self) -> None:
        way = self._draw_ghost(in_base=False)
        if way is not None:
            self.editor.delete(way)
            self._taken.pop()
            self._note("add_ghost_then_deleted", way)

    def _revert(self) -> None:
        """Somebody undoes the deletion of a ghost: it is back under its old id."""
        if self._removed_ghosts:
            way = self._removed_ghosts.pop(int(self.rng.integers(len(self._removed_ghosts))))
            self.editor.restore(way)
            self._note("restore_ghost", way)

    def _tag(self) -> None:
        for house in self._pick(3, lambda h: h.way is not None):
            self.editor.tag(house.way, {"building:levels": str(int(self.rng.integers(1, 5)))})
            self._note("tag_only", house.way, house)

    def _redraw(self) -> None:
        """Outlines are drawn anew: one under a new id, one coarse rectangle within its own way."""
        for house in self._pick(1, lambda h: h.way is not None and h.shift == (0.0, 0.0)):
            self.editor.delete(house.way)
            self._note("delete_for_redraw", house.way, house)
            house.way = self.editor.draw(self._map_shape(house), house.tags)
            self._note("redraw", house.way, house)
        coarse = lambda h: len(self.editor.ways[h.way].refs) != len(h.outline.exterior.coords)  # noqa: E731
        for house in self._pick(1, lambda h: h.way is not None and coarse(h)):
            self.editor.reshape(house.way, self._map_shape(house))
            self._note("redraw_outline", house.way, house)

    def _edit_outside(self) -> None:
        """A building far from any imagery comes and goes."""
        if self._outside is None:
            height, width = self.place.shape
            far = box(width + 9000, height / 2, width + 9060, height / 2 + 40)
            self._outside = self.editor.draw(self.place.to_lonlat(far), {"building": "yes"})
            self._note("edit_outside_imagery", self._outside)
        else:
            self.editor.delete(self._outside)
            self._note("edit_outside_imagery", self._outside)
            self._outside = None

    def _edit_road(self) -> None:
        way = self._roads[int(self.rng.integers(len(self._roads)))]
        self.editor.tag(way, {"surface": str(self.rng.choice(["asphalt", "dirt", "gravel", "unpaved"]))})
        self._note("road_tag", way)

    def _draw_ghost(self, in_base: bool) -> int | None:
        shape = self._free_spot()
        if shape is None:
            return None
        way = self.editor.draw(self.place.to_lonlat(shape), {"building": str(self.rng.choice(["yes", "house"]))})
        self.ghosts[way] = {"in_base": in_base, "geometry": self.editor.geometry(way)}
        return way

    def _free_spot(self) -> Polygon | None:
        """A building-like shape on open ground, at least 2 m from every building and every earlier one; pixels.

        None where the ground is too full, even for a small one.
        """
        metre = 1 / self.place.gsd_m
        height, width = self.place.shape
        streets = [r.geometry.buffer(r.attributes["width_m"] / 2 * metre) for r in self.town.roads]
        built = shapely.STRtree([h.outline for h in self.houses] + self._taken + streets)
        green = shapely.STRtree([t.geometry for t in self.town.trees])
        for size in np.linspace(metre, 0.7 * metre, 600):
            length, breadth = self.rng.uniform(7, 15) * size, self.rng.uniform(6, 10) * size
            x, y = self.rng.uniform(0, width), self.rng.uniform(0, height)
            flat = box(x - length / 2, y - breadth / 2, x + length / 2, y + breadth / 2)
            shape = shapely.affinity.rotate(flat, self.rng.uniform(0, 90))
            if not shape.within(box(0, 0, width, height).buffer(-3 * metre)):
                continue
            if built.query(shape.buffer(2 * metre), "intersects").size or green.query(shape, "intersects").size > 1:
                continue
            self._taken.append(shape)
            return shape
        return None


def _tags(thing: Thing) -> dict[str, str]:
    kind = {"house": "house", "terrace": "yes", "hall": "industrial", "shed": "shed"}[thing.attributes["use"]]
    material = {"concrete": "concrete", "sheet": "metal", "tile": "roof_tiles"}[thing.attributes["roof"]]
    return {"building": kind, "roof:material": material}


def _fullness(polygon: Polygon) -> float:
    """How much of its smallest rectangle a polygon fills."""
    return polygon.area / max(shapely.minimum_rotated_rectangle(polygon).area, 1e-9)
