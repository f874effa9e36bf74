"""Change files made for a World, in the mix of real minutely files, spread over all its copies.

An object is edited once only by the files of one `Minutes`, so they can be applied in order to any store that holds the
world as it was at first.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import osmium
from world import OFFSET, Node, Relation, Thing, Way, World, signed, write_things

#: A busy minute of the planet.
PLANET_MINUTE = {"node": 12_000, "way": 2_500, "relation": 80}
ACTIONS = ("create", "modify", "delete")
KINDS = ("building", "highway", "other")
#: Attempts to find a thing that was not edited yet.
TRIES = 10_000
#: Things edited in one changeset, about as in the real files.
CHANGESET = 80
BEGIN = datetime(2022, 7, 24, 20, 22, tzinfo=UTC)


def moment(number: int) -> datetime:
    """When the change file of a number was made: one a minute."""
    return BEGIN + timedelta(minutes=number)


@dataclass(frozen=True)
class Mix:
    """Shares of 1.

    Attributes:
        actions: of a type ("node", "way", "relation"): created, modified, deleted.
        kinds: of the created and the modified ways: building, highway, other.
        tagged: of the modified nodes: those with tags.
    """

    actions: Mapping[str, Mapping[str, float]]
    kinds: Mapping[str, Mapping[str, float]]
    tagged: float


def measure_mix(paths: Sequence[Path]) -> Mix:
    """The mix of real change files; each file has one voice, whatever its size."""
    actions: dict[str, list[Counter[str]]] = defaultdict(list)
    kinds: dict[str, list[Counter[str]]] = defaultdict(list)
    tagged = []
    for path in paths:
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        ways: dict[str, Counter[str]] = defaultdict(Counter)
        points: Counter[bool] = Counter()
        for thing in osmium.FileProcessor(str(path)):
            name = {"n": "node", "w": "way", "r": "relation"}[thing.type_str()]
            action = "delete" if thing.deleted else "create" if thing.version == 1 else "modify"
            seen[name][action] += 1
            if name == "way" and action != "delete":
                ways[action][next((kind for kind in KINDS[:2] if kind in thing.tags), "other")] += 1
            if name == "node" and action == "modify":
                points[len(thing.tags) > 0] += 1
        for name, counter in seen.items():
            actions[name].append(counter)
        for action, counter in ways.items():
            kinds[action].append(counter)
        tagged.append(points)
    return Mix(
        {name: _mean(counters, ACTIONS) for name, counters in actions.items()},
        {action: _mean(counters, KINDS) for action, counters in kinds.items()},
        _mean(tagged, (True, False))[True],
    )


def _mean(counters: Iterable[Counter], names: Sequence) -> dict:
    shares = [{name: counter[name] / counter.total() for name in names} for counter in counters if counter.total()]
    return {name: sum(share[name] for share in shares) / len(shares) for name in names}


class Minutes:
    """Makes change files, one after the other.

    Args:
        world: what is edited; only things of its `copies` first copies.
        mix: of what kinds the edits are.
        seed: the same gives the same files.
    """

    def __init__(self, world: World, mix: Mix, copies: int, seed: int = 1):
        self._world = world
        self._mix = mix
        self._copies = copies
        self._random = random.Random(seed)
        self._where = random.Random(seed)  # of its own, so that what is edited does not depend on how many copies
        self._taken: set[tuple[type, int]] = set()
        self._fresh = dict.fromkeys((Node, Way, Relation), copies * OFFSET)
        self._minute = 0
        self._uses = Counter(ref for way in world.ways.values() for ref in set(way.refs))
        members = {(kind, ref) for relation in world.relations.values() for kind, ref, _ in relation.members}
        self._by_kind: dict[str, list[Way]] = defaultdict(list)
        for way in world.ways.values():
            self._by_kind[_kind(way)].append(way)
        self._free_ways = [way for way in world.ways.values() if ("w", way.id) not in members]
        self._rings = [
            way for way in self._free_ways if way.refs[0] == way.refs[-1] and 5 <= len(way.refs) <= 12
            and _kind(way) == "building"
        ]
        self._points = [
            node for node in world.nodes.values()
            if node.tags and node.id not in self._uses and ("n", node.id) not in members
        ]
        self._tagged = [node for node in world.nodes.values() if node.tags]
        self._single = {
            id_ for id_, count in self._uses.items()
            if count == 1 and not world.nodes[id_].tags and ("n", id_) not in members
        }
        self._multipolygons = [r for r in world.relations.values() if "type=multipolygon" in r.tags.split(",")]
        self._routes = [r for r in world.relations.values() if "type=route" in r.tags.split(",")]

    def write(self, path: Path, size: Mapping[str, int]) -> Path:
        """The next change file, sorted, with so many nodes, ways and relations."""
        self._minute += 1
        edits = _Edits(size, self._mix)
        self._make_multipolygons(edits)
        self._edit_relations(edits)
        self._remove_ways(edits)
        self._edit_ways(edits)
        self._make_ways(edits)
        self._edit_nodes(edits)
        self._make_nodes(edits)
        self._remove_nodes(edits)
        order = (Node, Way, Relation)
        things = sorted(edits.things.values(), key=lambda thing: (order.index(type(thing)), thing.id))
        now = moment(self._minute).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = (thing._replace(changed=now).line for thing in things)
        return write_things(path, (
            signed(line, 123_900_000 + i // CHANGESET, 9_000_000 + i // CHANGESET, f"mapper_{i // CHANGESET}")
            for i, line in enumerate(lines)
        ))

    # -- what is edited -------------------------------------------------------------------------------------------

    def _make_multipolygons(self, edits: _Edits) -> None:
        """A new outline with a new hole each."""
        while edits.wants(Relation, "create"):
            ring, copy = self._any(self._rings)
            outer, inner = (self._clone(edits, ring, copy, tags="", scale=scale) for scale in (1.0, 0.4))
            tags = "type=multipolygon," + self._random.choice(("building=yes", "landuse=forest"))
            members = [("w", outer.id, "outer"), ("w", inner.id, "inner")]
            edits.add("create", Relation(self._new_id(Relation), 1, "", tags, members))

    def _edit_relations(self, edits: _Edits) -> None:
        """Members of multipolygons, and of routes, in turn."""
        turn = 0
        while edits.wants(Relation, "modify"):
            turn += 1
            relation, copy = self._take(self._multipolygons if turn % 2 else self._routes)
            members = list(self._world.of_copy(relation, copy).members)
            if turn % 2:
                ring, _ = self._take(self._rings, within=copy)
                members.append(("w", ring.id + copy * OFFSET, "outer"))
            elif len(members) > 1:
                members.pop(self._random.randrange(len(members)))
            edits.add("modify", self._next(relation, copy)._replace(members=members))

    def _remove_ways(self, edits: _Edits) -> None:
        """Ways that no relation holds, and such of their nodes as nothing else holds."""
        while edits.wants(Way, "delete"):
            way, copy = self._take(self._free_ways)
            edits.add("delete", self._next(way, copy)._replace(visible=False, refs=[]))
            for ref in dict.fromkeys(way.refs):
                if ref in self._single and edits.wants(Node, "delete"):
                    self._remove_node(edits, ref, copy)

    def _edit_ways(self, edits: _Edits) -> None:
        """Retagged, a node more, a node less, in turn."""
        turn = 0
        while edits.wants(Way, "modify"):
            turn += 1
            way, copy = self._take(self._by_kind[self._kind_for("modify")])
            now = self._next(way, copy)
            spare = [i for i in range(1, len(way.refs) - 1)
                     if way.refs[i] in self._single and way.refs.count(way.refs[i]) == 1]
            if turn % 2:
                now = now._replace(tags=_add_tag(now.tags, f"note=edit%20%{self._minute}"))
            elif turn % 4 or not spare or len(way.refs) < 6:
                at = self._random.randrange(1, len(way.refs))
                a, b = (self._world.of_copy(self._world.nodes[way.refs[i]], copy) for i in (at - 1, at))
                middle = self._create_node(edits, (a.lon + b.lon) // 2 + 60, (a.lat + b.lat) // 2 + 60)
                now = now._replace(refs=[*now.refs[:at], middle.id, *now.refs[at:]])
            else:
                at = self._random.choice(spare)
                now = now._replace(refs=[*now.refs[:at], *now.refs[at + 1:]])
                if edits.wants(Node, "delete"):
                    self._remove_node(edits, way.refs[at], copy)
            edits.add("modify", now)

    def _make_ways(self, edits: _Edits) -> None:
        """Copies of other ways some metres beside them, with nodes of their own."""
        while edits.wants(Way, "create"):
            most = max(5, 2 * edits.left(Node, "create") // max(edits.left(Way, "create"), 1))
            way, copy = self._any(self._by_kind[self._kind_for("create")])
            if len(way.refs) <= most:
                self._clone(edits, way, copy, tags=way.tags)

    def _edit_nodes(self, edits: _Edits) -> None:
        """Tagged nodes get another tag; nodes of ways are moved by a metre or two, up to four of a way."""
        for _ in range(round(edits.left(Node, "modify") * self._mix.tagged)):
            node, copy = self._take(self._tagged)
            now = self._next(node, copy)
            edits.add("modify", now._replace(tags=_add_tag(now.tags, "check_date=2022-07-24")))
        while edits.wants(Node, "modify"):
            way, copy = self._any(self._by_kind[self._kind_for("modify")])
            for ref in self._random.sample(sorted(set(way.refs)), min(4, len(set(way.refs)))):
                if edits.wants(Node, "modify") and self._claim(Node, ref, copy):
                    now = self._next(self._world.nodes[ref], copy)
                    east, north = self._random.randint(-200, 200), self._random.randint(50, 200)
                    edits.add("modify", now._replace(lon=now.lon + east, lat=now.lat + north))

    def _make_nodes(self, edits: _Edits) -> None:
        """Points of interest, as many as are wanting."""
        while edits.wants(Node, "create"):
            point, copy = self._any(self._points)
            there = self._world.of_copy(point, copy)
            self._create_node(edits, there.lon + self._random.randint(-3000, 3000), there.lat, point.tags)

    def _remove_nodes(self, edits: _Edits) -> None:
        """Points of interest, as many as are wanting."""
        while edits.wants(Node, "delete"):
            node, copy = self._take(self._points)
            edits.add("delete", self._next(node, copy)._replace(visible=False))

    # -- how ------------------------------------------------------------------------------------------------------

    def _any(self, things: Sequence, copy: int | None = None) -> tuple:
        """A thing of the extract, and a copy."""
        return self._random.choice(things), self._where.randrange(self._copies) if copy is None else copy

    def _take(self, things: Sequence, within: int | None = None) -> tuple:
        """As `_any`, one that was not edited yet.

        Raises:
            ValueError: (nearly) all were.
        """
        for _ in range(TRIES):
            thing, copy = self._any(things, copy=within)
            if self._claim(type(thing), thing.id, copy):
                return thing, copy
        raise ValueError(f"nearly everything was edited already; more than {self._copies} copies are needed")

    def _claim(self, kind: type, id_: int, copy: int) -> bool:
        key = kind, id_ + copy * OFFSET
        fresh = key not in self._taken
        self._taken.add(key)
        return fresh

    def _next(self, thing: Thing, copy: int) -> Thing:
        return self._world.of_copy(thing, copy)._replace(version=thing.version + 1)

    def _new_id(self, kind: type) -> int:
        self._fresh[kind] += 1
        return self._fresh[kind]

    def _kind_for(self, action: str) -> str:
        shares = self._mix.kinds[action]
        return self._random.choices(list(shares), list(shares.values()))[0]

    def _create_node(self, edits: _Edits, lon: int, lat: int, tags: str = "") -> Node:
        return edits.add("create", Node(self._new_id(Node), 1, "", tags, lon, lat))

    def _remove_node(self, edits: _Edits, ref: int, copy: int) -> None:
        if self._claim(Node, ref, copy):
            edits.add("delete", self._next(self._world.nodes[ref], copy)._replace(visible=False))

    def _clone(self, edits: _Edits, way: Way, copy: int, tags: str, scale: float = 1.0) -> Way:
        """A new way like one of the extract, 30 m to the east, drawn smaller around its first node if need be."""
        nodes = [self._world.of_copy(self._world.nodes[ref], copy) for ref in way.refs]
        lon, lat = (sum(node[i] for node in nodes) // len(nodes) for i in (4, 5))
        made: dict[int, int] = {}
        for node in nodes:
            if node.id not in made:
                x, y = lon + round((node.lon - lon) * scale) + 4000, lat + round((node.lat - lat) * scale)
                made[node.id] = self._create_node(edits, x, y).id
        return edits.add("create", Way(self._new_id(Way), 1, "", tags, [made[node.id] for node in nodes]))


class _Edits:
    """The edits of one file, and how many more of each sort it wants."""

    def __init__(self, size: Mapping[str, int], mix: Mix):
        self.things: dict[tuple[type, int], Thing] = {}
        self._left: Counter[tuple[type, str]] = Counter()
        for kind in (Node, Way, Relation):
            name = kind.__name__.lower()
            for action in ACTIONS:
                self._left[kind, action] = round(size[name] * mix.actions[name][action])
            self._left[kind, "modify"] += size[name] - sum(self._left[kind, action] for action in ACTIONS)

    def wants(self, kind: type, action: str) -> bool:
        return self._left[kind, action] > 0

    def left(self, kind: type, action: str) -> int:
        return self._left[kind, action]

    def add(self, action: str, thing):
        self._left[type(thing), action] -= 1
        self.things[type(thing), thing.id] = thing
        return thing


def _kind(way: Way) -> str:
    keys = {tag.partition("=")[0] for tag in way.tags.split(",")}
    return next((kind for kind in KINDS[:2] if kind in keys), "other")


def _add_tag(tags: str, tag: str) -> str:
    key = tag.partition("=")[0]
    return ",".join([*(t for t in tags.split(",") if t and t.partition("=")[0] != key), tag])
