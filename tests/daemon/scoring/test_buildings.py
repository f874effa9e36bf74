"""Found against known, on a truth small enough to be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from shapely.affinity import translate
from shapely.geometry import Polygon, box, mapping

from daemon.scoring import Counts, Found, Truth, TruthInvalid
from daemon.tiling.grid import Block

#: Two tiles side by side, and a third far away that is a place of its own.
FIRST, SECOND, FAR = (386_690, 220_241), (386_691, 220_241), (309_613, 261_632)
METRE = 1 / 111_320


def area_of(*tiles: tuple[int, int]) -> tuple[float, float, float, float]:
    boxes = [Block(19, x, y, 1).lonlat() for x, y in tiles]
    return (
        min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes),
    )


def house(tile: tuple[int, int], east: float, north: float, side: float = 8.0) -> Polygon:
    """A house whose centre lies so many metres (of latitude) from the tile's south-western corner."""
    west, south, *_ = Block(19, *tile, 1).lonlat()
    x, y, half = west + east * METRE, south + north * METRE, side / 2 * METRE
    return box(x - half, y - half, x + half, y + half)


MISSING, OTHER_MISSING = house(FIRST, 15, 15), house(SECOND, 15, 15)
SHIFTED, OUTSIDE = house(FIRST, 40, 15), house(FIRST, 15, 40)
GHOST, FAR_GHOST = house(FIRST, 40, 40), house(FAR, 30, 30)
STANDING, DOUBTED = house(SECOND, 40, 40), house(SECOND, 40, 15)


def building(number: int, geometry: Polygon, initial: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "place": "here", "in_area": True, "initial": initial, "true_geometry": mapping(geometry), **more,
    }


def document() -> dict[str, Any]:
    """What is wrong at first: 1 and 2 missing, 3 shifted, 4 missing outside the area, ghosts 11 (here) and 12 (far).

    Sequence 8 brings building 1 and deletes ghost 11.
    """
    return {
        "sequence_start": 7,
        "areas": {
            "here": {"bbox": area_of(FIRST, SECOND), "z19_tiles": [FIRST, SECOND]},
            "far": {"bbox": area_of(FAR), "z19_tiles": [FAR]},
        },
        "buildings": [
            building(1, MISSING, "missing"),
            building(2, OTHER_MISSING, "missing"),
            building(3, SHIFTED, "shifted"),
            building(4, OUTSIDE, "missing", in_area=False),
            building(5, STANDING, "natural_ghost"),
        ],
        "ghosts": [
            {"id": 11, "place": "here", "geometry": mapping(GHOST)},
            {"id": 12, "place": "far", "geometry": mapping(FAR_GHOST)},
        ],
        "curated": [],
        "initial_open": {"missing": [1, 2, 4], "shifted": [3], "ghost": [11, 12]},
        "sequences": [{
            "sequence": 8,
            "open_ids_after": {"missing": [2, 4], "shifted": [3], "ghost": [12]},
            "tiles_touched": {"19": [FIRST], "20": [[2 * FIRST[0], 2 * FIRST[1]]]},
        }],
    }


def truth_of(tmp_path: Path, **changes: Any) -> Truth:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**document(), **changes}))
    return Truth.load(path)


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return truth_of(tmp_path)


def claims(*what: tuple[str, Polygon, str | None]) -> list[Found]:
    return [Found(f"bld-{i}", kind, geometry, osm) for i, (kind, geometry, osm) in enumerate(what)]


def counts(truth: Truth, found: Iterable[Found], kind: str, sequence: int = 7, place: str = "here") -> Counts:
    return truth.score(found, sequence)[place][kind]


def test_without_claims_everything_known_is_overlooked(truth: Truth) -> None:
    scores = truth.score([], 7)
    assert scores["here"] == {"missing": Counts(fn=2), "gone": Counts(fn=1), "misplaced": Counts(fn=1)}
    assert scores["far"] == {"missing": Counts(), "gone": Counts(fn=1), "misplaced": Counts()}


def test_a_missing_building_is_found_by_its_place_and_nothing_else(truth: Truth) -> None:
    near = translate(MISSING, 2 * METRE)  # overlaps by 0.6
    off = translate(OTHER_MISSING, 6 * METRE)  # overlaps by 0.14
    assert counts(truth, claims(("missing", near, None), ("missing", off, None)), "missing") == Counts(1, 1, 1)
    assert counts(truth, claims(("gone", MISSING, "way/1")), "missing") == Counts(fn=2)


def test_two_claims_about_one_missing_building_are_one_right_and_one_wrong(truth: Truth) -> None:
    found = claims(("missing", translate(MISSING, METRE), None), ("missing", MISSING, None))
    assert counts(truth, found, "missing") == Counts(tp=1, fp=1, fn=1)


def test_what_is_gone_or_misplaced_is_found_by_its_object_wherever_it_is_drawn(truth: Truth) -> None:
    found = claims(("gone", STANDING, "way/11"), ("misplaced", STANDING, "way/3"))
    assert counts(truth, found, "gone") == Counts(tp=1)
    assert counts(truth, found, "misplaced") == Counts(tp=1)
    found = claims(("gone", GHOST, "way/99"), ("misplaced", SHIFTED, "relation/3"), ("gone", GHOST, None))
    assert counts(truth, found, "gone") == Counts(fp=2, fn=1)
    assert counts(truth, found, "misplaced") == Counts(fp=1, fn=1)


def test_a_second_claim_about_the_same_object_is_wrong(truth: Truth) -> None:
    assert counts(truth, claims(*[("gone", GHOST, "way/11")] * 2), "gone") == Counts(tp=1, fp=1)


def test_a_claim_of_one_kind_does_not_answer_another(truth: Truth) -> None:
    assert counts(truth, claims(("misplaced", GHOST, "way/11")), "gone") == Counts(fn=1)


def test_what_a_change_file_fixed_is_no_longer_known_as_wrong(truth: Truth) -> None:
    found = claims(("missing", MISSING, None), ("missing", OTHER_MISSING, None), ("gone", GHOST, "way/11"))
    assert counts(truth, found, "missing", 8) == Counts(tp=1, fp=1)
    assert counts(truth, found, "gone", 8) == Counts(fp=1)


def test_claims_count_where_their_centre_lies(truth: Truth) -> None:
    found = claims(("gone", FAR_GHOST, "way/12"), ("missing", house(FAR, 60, 60), None))
    assert truth.score(found, 7)["far"] == {"missing": Counts(fp=1), "gone": Counts(tp=1), "misplaced": Counts()}
    assert counts(truth, found, "gone") == Counts(fn=1)
    nowhere = translate(MISSING, 1.0)
    assert truth.score(claims(("missing", nowhere, None)), 7) == truth.score([], 7)


def test_a_building_outside_of_the_area_is_scored_neither_way(truth: Truth) -> None:
    assert counts(truth, claims(("missing", OUTSIDE, None)), "missing") == Counts(fn=2, unscored=1)


@pytest.mark.parametrize("kind", ["missing", "gone", "misplaced"])
def test_a_doubtful_region_is_scored_neither_way(tmp_path: Path, kind: str) -> None:
    known = {"missing": MISSING, "gone": GHOST, "misplaced": SHIFTED}[kind]
    osm = {"missing": None, "gone": "way/11", "misplaced": "way/3"}[kind]
    regions = [{"kind": "ignore", "geometry": mapping(g.buffer(2 * METRE))} for g in (known, DOUBTED)]
    truth = truth_of(tmp_path, curated=regions)
    overlooked = 1 if kind == "missing" else 0
    assert counts(truth, [], kind) == Counts(fn=overlooked)
    right, wrong = (kind, known, osm), (kind, DOUBTED, osm and "way/77")
    assert counts(truth, claims(right, wrong), kind) == Counts(fn=overlooked, unscored=2)


@pytest.mark.parametrize(("kind", "region"), [("missing", "natural_missing"), ("gone", "natural_ghost")])
def test_a_claim_that_is_right_although_the_labels_lack_it_is_no_mistake(
    tmp_path: Path, kind: str, region: str
) -> None:
    truth = truth_of(tmp_path, curated=[{"kind": region, "geometry": mapping(DOUBTED.buffer(2 * METRE))}])
    for claimed in ("missing", "gone"):
        scored = counts(truth, claims((claimed, DOUBTED, None if claimed == "missing" else "way/77")), claimed)
        assert (scored.unscored, scored.fp) == ((1, 0) if claimed == kind else (0, 1))


def test_a_mapped_building_that_was_gone_from_the_first_is_no_mistake(truth: Truth) -> None:
    assert counts(truth, claims(("gone", STANDING, "way/5")), "gone") == Counts(fn=1, unscored=1)
    assert counts(truth, claims(("gone", STANDING, "relation/1")), "gone") == Counts(fp=1, fn=1)


def test_only_the_asked_tiles_are_scored_on_both_sides(truth: Truth) -> None:
    found = claims(("missing", MISSING, None), ("missing", OTHER_MISSING, None), ("missing", STANDING, None))
    assert truth.score(found, 7, frozenset([FIRST]))["here"]["missing"] == Counts(tp=1)
    assert truth.score(found, 7, frozenset([SECOND]))["here"]["missing"] == Counts(tp=1, fp=1)
    assert truth.score(found, 7, frozenset([FAR]))["here"]["missing"] == Counts()


def test_figures_are_none_where_nothing_can_be_said() -> None:
    assert (Counts().precision, Counts().recall, Counts().f1) == (None, None, None)
    assert (Counts(fp=1).precision, Counts(fp=1).recall, Counts(fp=1).f1) == (0.0, None, 0.0)
    assert (Counts(fn=1).precision, Counts(fn=1).recall, Counts(fn=1).f1) == (None, 0.0, 0.0)
    assert Counts(unscored=4).f1 is None


def test_figures_are_what_they_are_called() -> None:
    total = Counts(2, 1, 1, 5) + Counts(1, 0, 2, 1)
    assert total == Counts(3, 1, 3, 6)
    assert total.as_dict() == {
        "tp": 3, "fp": 1, "fn": 3, "unscored": 6, "precision": 0.75, "recall": 0.5, "f1": pytest.approx(0.6),
    }


def test_the_tiles_a_file_touches_are_read_by_zoom(truth: Truth) -> None:
    assert truth.tiles_by_sequence == {
        8: {19: frozenset([FIRST]), 20: frozenset([(2 * FIRST[0], 2 * FIRST[1])])},
    }
    assert set(truth.open_by_sequence) == {7, 8}


def test_a_fold_has_not_seen_its_own_columns_nor_other_places(truth: Truth) -> None:
    fold = {"fold": 1, "columns_per_fold": 1}
    assert truth.unseen_tiles(fold, ["here"]) == {SECOND, FAR}
    assert truth.unseen_tiles({**fold, "fold": 0}, ["here"]) == {FIRST, FAR}
    assert truth.unseen_tiles({"fold": 0, "columns_per_fold": 2}, ["here"]) == {FIRST, SECOND, FAR}
    assert truth.unseen_tiles({"fold": -1, "columns_per_fold": 1}, ["here"]) == {FAR}
    assert truth.unseen_tiles({"fold": -1, "columns_per_fold": 1}, ["here", "far"]) == frozenset()
    assert truth.unseen_tiles(fold, []) == {FIRST, SECOND, FAR}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"no json", "not a truth file: JSONDecodeError"),
        (b"\xff\xfe{}", "not a truth file: UnicodeDecodeError"),
        (b"[]", "not a truth file: a JSON object with buildings or roads is expected"),
        (b"{}", "not a truth file: a JSON object with buildings or roads is expected"),
        (b'{"buildings": 3}', "not a truth file of buildings: TypeError"),
    ],
)
def test_a_file_that_is_no_truth_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "truth.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TruthInvalid) as caught:
        Truth.load(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("areas", {"here": {"bbox": [1, 2, 3], "z19_tiles": []}}),
        ("ghosts", [{"id": 11, "place": "here", "geometry": {"type": "Polygon", "coordinates": 5}}]),
        ("curated", [{"kind": "ignore", "geometry": {"type": "Blob", "coordinates": []}}]),
        ("sequences", [{"sequence": 8, "open_ids_after": {}, "tiles_touched": []}]),
    ],
)
def test_a_truth_with_a_part_of_another_form_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(TruthInvalid, match="not a truth file"):
        truth_of(tmp_path, **{key: value})
