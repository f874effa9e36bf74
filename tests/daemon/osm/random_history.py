"""Random histories of a small map for hypothesis: a world, and change files that make it another.

The world keeps the rules of a change file by itself, in the plainest way: the highest version in a file counts, among
equal ones the last; what is older than what the world has is put aside; version 0 is unknown and counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from osm_world import EPOCH, Thing, node, relation, way

#: The south-western corner of the world, and one step of the lattice on which most nodes lie, in degrees. 200 m.
WEST, SOUTH, STEP = 8.0003, 47.0001, 0.002
#: Steps along one side.
SIDE = 16
#: Ids that a history uses: the world begins without the last few of each kind.
IDS = {"n": 26, "w": 12, "r": 6}
TAGS: Sequence[Mapping[str, str]] = (
    {"building": "yes"}, {"highway": "path"}, {}, {"building": "yes", "name": "é \"\\\t'"}, {"name": "x"},
    {"building": "yes", "name": "\U0001f3e0 of " + "x" * 300}, {"highway": "path", "area": "yes"}, {"building": "ruin"},
)
ROLES = ("outer", "inner", "", "a,b %")
TYPES = ("multipolygon", "multipolygon", "boundary", "route")


def thoroughly(examples: int) -> settings:
    """The same examples at every run; MAPGAP_HYPOTHESIS=thorough takes 50 times as many, other ones at every run."""
    thorough = os.environ.get("MAPGAP_HYPOTHESIS") == "thorough"
    return settings(
        max_examples=examples * 50 if thorough else examples, derandomize=not thorough, deadline=None, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain},
    )


def asked_for(tags: Mapping[str, str]) -> bool:
    return "building" in tags or "highway" in tags


def is_asked_for(thing: Thing) -> bool:
    """Whether the store keeps its tags: an area relation or a way with tags that are asked for."""
    if thing.deleted or thing.kind == "n" or not asked_for(thing.tags):
        return False
    return thing.kind == "w" or thing.tags.get("type") in ("multipolygon", "boundary")


@dataclass(frozen=True)
class Step:
    """One change file.

    Attributes:
        written: what stands in it, in its order.
        after: all objects of the world then, the deleted ones too, by type and id.
        moment: the world as it would be if the file had deleted nothing: what it made and took away is still there.
        passing: what of it the file did take away.
    """

    written: Sequence[Thing]
    after: Mapping[tuple[str, int], Thing]
    moment: Mapping[tuple[str, int], Thing]
    passing: frozenset[tuple[str, int]]


class History:
    """A world, and what became of it. Its repr is what hypothesis shows of one that fails: the objects as text."""

    def __init__(self, base: Mapping[tuple[str, int], Thing], steps: Sequence[Step]):
        self.base = base
        self.steps = steps

    def __repr__(self) -> str:
        files = [f"file {number}\n{_text(step.written)}" for number, step in enumerate(self.steps, 1)]
        return "\n".join(["\nbase", _text(self.base.values()), *files])


@st.composite
def histories(draw, *, closed: bool = False, clusters: int = 1, files: int = 5) -> History:
    """A world and up to so many change files.

    Args:
        closed: each file names the parents and parts of what it changes too, unchanged, and nothing is stale: all that
            a store of an area can know.
        clusters: the world falls into so many parts, side by side from west to east, which never mix. With more than
            one, files name the parents of what appears, and the parts of relations: a way of which no node is known
            might be anywhere.
    """
    writer = _Writer(draw, clusters)
    base = writer.base()
    steps, now = [], base
    for _ in range(draw(st.integers(1, files))):
        written = writer.file(now, stale=not closed)
        if closed or clusters > 1:
            written = [*written, *_relatives(written, now, only_appearing=not closed)]
        written = _ordered(draw, written)
        step = _step(now, written)
        steps.append(step)
        now = step.after
    return History(base, steps)


def take(now: Mapping[tuple[str, int], Thing], written: Iterable[Thing]) -> dict[tuple[str, int], Thing]:
    """The world after a change file."""
    after = dict(now)
    for key, last in _last(written).items():
        known = now.get(key)
        if known is not None and 0 < last.version < known.version:
            continue
        if last.deleted and (known is None or known.deleted):
            continue
        after[key] = last
    return after


def _step(now: Mapping[tuple[str, int], Thing], written: Sequence[Thing]) -> Step:
    moment = take(now, [thing for thing in written if not thing.deleted])
    made = {key for key, thing in moment.items() if thing != now.get(key)}
    passing = frozenset(key for key, last in _last(written).items() if last.deleted and key in made)
    return Step(written, take(now, written), moment, passing)


def _last(written: Iterable[Thing]) -> dict[tuple[str, int], Thing]:
    last: dict[tuple[str, int], Thing] = {}
    for thing in written:
        if thing.key not in last or thing.version >= last[thing.key].version:
            last[thing.key] = thing
    return last


class _Writer:
    """Writes objects and change files as hypothesis draws them."""

    def __init__(self, draw, clusters: int):
        self.draw = draw
        self.clusters = clusters
        self.clock = EPOCH
        self.top: dict[tuple[str, int], int] = {}

    def base(self) -> dict[tuple[str, int], Thing]:
        things = []
        for kind, most in IDS.items():
            for id_ in range(1, most - 1):
                if kind == "n" or self._chance(3):
                    thing = self._varied(Thing(kind, id_, 1, EPOCH))
                    things.append(thing)
                    self.top[thing.key] = 1
        middle = node(1000, round(WEST + 5 * STEP, 7), round(SOUTH + 8 * STEP, 7))  # no area is ever empty
        return {thing.key: thing for thing in [*things, middle]}

    def file(self, now: Mapping[tuple[str, int], Thing], *, stale: bool) -> list[Thing]:
        draft, written = dict(now), []
        for _ in range(self.draw(st.integers(1, 6))):
            self.clock += 7
            for thing in self._edit(now, draft, stale):
                written.append(thing)
                draft[thing.key] = thing
        return written

    def _edit(
        self, now: Mapping[tuple[str, int], Thing], draft: Mapping[tuple[str, int], Thing], stale: bool
    ) -> list[Thing]:
        kind = self._one_of("nnnnwwwrr")
        id_ = self.draw(st.integers(1, IDS[kind]))
        key = kind, id_
        old = draft.get(key)
        top = self.top.get(key, 0)
        version = top + self._one_of((1, 1, 1, 3))
        action = self._one_of(
            ("change", "change", "change", "touch", "delete", "delete", "moment", "same version", "no version",
             "twice", "stale")
        )
        if old is None or old.deleted or action in ("change", "moment"):
            new = self._varied(self._bare(kind, id_, version, old))
        elif action == "delete":
            new = replace(self._bare(kind, id_, version, None), deleted=True)
        elif action == "same version":
            new = self._varied(self._bare(kind, id_, old.version, old))
        elif action == "no version":
            new = self._varied(self._bare(kind, id_, 0, old))
        elif action == "stale" and stale and self._remembered(now.get(key)):
            return [self._varied(self._bare(kind, id_, now[key].version - 1, old))]
        else:
            tags = {**old.tags, "name": self._one_of("ab")} if self._chance(2) else old.tags
            new = replace(old, version=version, changed=self.clock, tags=tags)
        self.top[key] = max(top, new.version)
        written = [new]
        if action == "moment":
            written.append(replace(self._bare(kind, id_, self.top[key] + self._one_of((0, 1)), None), deleted=True))
            self.top[key] = written[-1].version
        return written * 2 if action == "twice" else written

    def _remembered(self, thing: Thing | None) -> bool:
        """Whether the store can tell that an earlier version of the object is stale."""
        return thing is not None and thing.version > 1 and not thing.deleted and (
            thing.kind != "r" or is_asked_for(thing)
        )

    def _bare(self, kind: str, id_: int, version: int, old: Thing | None) -> Thing:
        if old is None:
            return Thing(kind, id_, version, self.clock)
        return Thing(kind, id_, version, self.clock, old.tags, old.location, old.refs, old.members)

    def _varied(self, thing: Thing) -> Thing:
        """The object with other content, some of it kept where there is any."""
        keep = (thing.location or thing.refs or thing.members) and self._chance(2)
        common = {"version": thing.version, "changed": thing.changed}
        if thing.kind == "n":
            lon, lat = thing.location if keep else self._place(thing.id)
            return node(thing.id, lon, lat, tags=self._one_of(({}, {"entrance": "yes"})), **common)
        tags = thing.tags if thing.tags and self._chance(2) else self._one_of(TAGS)
        cluster = thing.id % self.clusters
        if thing.kind == "w":
            return way(thing.id, self._bent(thing.refs, cluster) if keep else self._refs(cluster), tags=tags, **common)
        members = thing.members if keep else self._members(cluster)
        if keep and len(members) > 1 and self._chance(2):
            members = members[1:]
        return relation(thing.id, members, tags={"type": self._one_of(TYPES), **tags}, **common)

    def _bent(self, refs: Sequence[int], cluster: int) -> Sequence[int]:
        """One node fewer, one more, or the other way round."""
        how, at = self._one_of(("fewer", "more", "reversed")), self.draw(st.integers(0, 5))
        if how == "fewer" and len(refs) > 2:
            return (*refs[:1 + at % (len(refs) - 2)], *refs[2 + at % (len(refs) - 2):])
        if how == "more" and len(refs) > 1:
            at = 1 + at % (len(refs) - 1)
            return (*refs[:at], self._ref("n", cluster), *refs[at:])
        return tuple(reversed(refs))

    def _place(self, id_: int) -> tuple[float, float]:
        """On the lattice, or a little off; the clusters side by side."""
        wide = SIDE // self.clusters
        column = (id_ + self.draw(st.integers(0, wide - 1))) % wide + (id_ % self.clusters) * wide
        row = (id_ * id_ + self.draw(st.integers(0, SIDE - 1))) % SIDE
        off = 0.0003171 if self._chance(4) else 0.0
        return round(WEST + column * STEP + off, 7), round(SOUTH + row * STEP - off, 7)

    def _refs(self, cluster: int) -> list[int]:
        """Often a rectangle or another ring, else a line; sometimes too short for either, or with unknown nodes."""
        refs = [self._ref("n", cluster) for _ in range(self._one_of((3, 4, 5, 4, 2, 1, 0)))]
        return [*refs, refs[0]] if len(refs) > 1 and not self._chance(4) else refs

    def _members(self, cluster: int) -> list[tuple[str, int, str]]:
        kinds = [self._one_of("wwwwwnr") for _ in range(self.draw(st.integers(1, 3)))]
        return [(kind, self._ref(kind, cluster), self._one_of(ROLES)) for kind in kinds]

    def _ref(self, kind: str, cluster: int) -> int:
        most = IDS[kind] // self.clusters
        return self.draw(st.integers(1, most)) * self.clusters - (self.clusters - cluster) % self.clusters

    def _one_of(self, choices):
        return self.draw(st.sampled_from(choices))

    def _chance(self, of: int) -> bool:
        return self.draw(st.integers(1, of)) == of


def _ordered(draw, written: list[Thing]) -> list[Thing]:
    """Sorted as servers do it, as written, or in any order."""
    order = draw(st.sampled_from(("sorted", "as written", "any")))
    if order == "sorted":
        return sorted(written, key=lambda t: ("nwr".index(t.kind), t.id, t.version))
    return written if order == "as written" else draw(st.permutations(written))


def _relatives(
    written: Sequence[Thing], now: Mapping[tuple[str, int], Thing], *, only_appearing: bool
) -> list[Thing]:
    """Parents and parts of what a file changes, of what these were and of what they become, as they are."""
    named = {thing.key for thing in written}
    changed = {k for k in named if not only_appearing or k[0] == "r" or k not in now or now[k].deleted}
    worlds = [*now.values(), *written]
    ways = {t.id for t in worlds if t.kind == "w" and any(("n", ref) in changed for ref in t.refs)}
    ways |= {id_ for kind, id_ in changed if kind == "w"}
    relations = {t.id for t in worlds if t.kind == "r" and any(k == "w" and ref in ways for k, ref, _ in t.members)}
    relations |= {id_ for kind, id_ in changed if kind == "r"}
    ways |= {ref for t in worlds if t.kind == "r" and t.id in relations for k, ref, _ in t.members if k == "w"}
    nodes = {ref for t in worlds if t.kind == "w" and t.id in ways for ref in t.refs}
    keys = {("w", id_) for id_ in ways} | {("r", id_) for id_ in relations} | {("n", id_) for id_ in nodes}
    return [now[key] for key in sorted(keys - named) if key in now and not now[key].deleted]


def _text(things: Iterable[Thing]) -> str:
    return "\n".join(
        f"  {thing.kind}{thing.id} v{thing.version} t{thing.changed - EPOCH} "
        + ("deleted" if thing.deleted else f"{thing.location or thing.refs or thing.members} {dict(thing.tags)}")
        for thing in things
    )
