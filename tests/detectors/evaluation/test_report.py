"""A model is scored beside those who do not look, on any classes, bands and sizes; unknown ground never counts."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from daemon.__main__ import main
from detectors.base import Frame
from detectors.datasets import UNKNOWN, Place, Provenance, Source, equator_bounds
from detectors.errors import BundleInvalid, DatasetInvalid
from detectors.evaluation.ground import (
    HELD_OUT,
    TRAINED_ON,
    UNSEEN,
    Ground,
    asked_ground,
)
from detectors.evaluation.legend import Legend
from detectors.evaluation.maps import read_map
from detectors.evaluation.page import write_page
from detectors.evaluation.records import CardCounts, full_record
from detectors.evaluation.report import examine
from detectors.evaluation.resolution import match_resolution
from detectors.evaluation.scoring import (
    PLACES_IN_CARD,
    count_pixels,
    evaluate_bundle,
    measure_thresholds,
    tally_model,
)
from detectors.segmentation import Bundle, Card, Engine

SUM = "0" * 64
OSM = Provenance("drawn <b>here</b>", "MIT", "(c) OpenStreetMap contributors", "ODbL-1.0")
ZOOM19 = 40075016.68557849 / 2**19


def make_bundle(classes: tuple[str, ...], **card: object) -> Bundle:
    """A bundle without files, for engines that need none."""
    bands = card.pop("bands", 3)
    said = Card(format=2, name="test", bands=bands, classes=classes, stride=4, gsd_m=1.0, gsd_range_m=(0.1, 20.0),
                mean=(100.0,) * bands, std=(50.0,) * bands,
                files=dict.fromkeys(("model-symbol.json", "model-0000.params", "model.onnx"), SUM), **card)
    return Bundle(said, Path("/nowhere"), "test@0")


class FirstBand(Engine):
    """Reads the class off the first band, in steps of 40, and is as sure of it as it is told to be."""

    name = device = "first band"

    def __init__(self, bundle: Bundle, sure: float = 0.9):
        super().__init__(bundle)
        self.sure = sure

    def run(self, batch: np.ndarray) -> np.ndarray:
        number = len(self.bundle.card.classes)
        said = np.minimum(batch[:, 0] // 40, number - 1)
        rest = (1 - self.sure) / (number - 1)
        return np.stack([np.where(said == k, self.sure, rest) for k in range(number)], axis=1).astype(np.float32)


def make_place(mask: np.ndarray, classes: tuple[str, ...], *, answer: np.ndarray | None = None, bands: int = 3,
               dtype: str = "uint8", **place: object) -> Place:
    """A place whose imagery makes `FirstBand` answer `answer`, or the truth."""
    said = np.where(mask == UNKNOWN, 0, mask) if answer is None else answer
    pixels = np.repeat((said * 40 + 20)[..., None], bands, axis=2).astype(dtype)
    valid = np.ones(mask.shape, bool)
    place = {"bounds": equator_bounds(mask.shape, 1.0), "provenance": OSM, **place}
    return Place("here", pixels, valid, classes=classes, mask=mask.astype(np.uint8), **place)


def ground_of(place: Place, group: str = UNSEEN, mask: np.ndarray | None = None, directory: Path = Path("/nowhere"),
              reader: str = "tiles") -> Ground:
    source = Source(path="here", reader=reader, use="test", imagery="", imagery_licence="", labels="",
                    labels_licence="")
    return Ground(group, source, directory, place, np.ones(place.valid.shape, bool) if mask is None else mask)


def random_mask(shape: tuple[int, int], classes: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, classes, (-(-shape[0] // 10), -(-shape[1] // 10)))
    return np.kron(small, np.ones((10, 10), int))[: shape[0], : shape[1]].astype(np.uint8)


LAND = ("none", "cultivated", "forest", "grass", "shrub", "artificial")


def test_sixteen_bits_thirteen_bands_and_odd_sides_are_scored_by_the_names_of_the_classes():
    # The model knows the classes in another order than the place, and has no word for "none".
    bundle = make_bundle(LAND[:0:-1], bands=13, dtype="uint16")
    mask = random_mask((100, 101), 6)
    in_models_order = np.where(mask == 0, 0, 5 - mask)
    place = make_place(mask, LAND, answer=in_models_order, bands=13, dtype="uint16")
    report = examine(bundle, FirstBand(bundle), [ground_of(place)], pictures=True)
    model, nothing, drawn = report.sections[0].rows
    assert model.tally.confusion.mean_iou == 1.0
    assert model.tally.confusion.total == int((mask != 0).sum())
    assert "none" in " ".join(model.notes)
    assert nothing.name.startswith("all ") and 0 < nothing.tally.confusion.mean_iou < 0.2
    assert nothing.tally.confusion.accuracy == max(np.bincount(mask[mask > 0])) / (mask != 0).sum()
    assert drawn.tally is None and "which of the classes" in drawn.notes[0]
    assert model.tally.objects is None and model.tally.paths is None


def test_roads_get_a_score_of_their_ways_and_relaxed_measures():
    bundle = make_bundle(("background", "road"))
    mask = np.zeros((300, 300), np.uint8)
    mask[140:147] = 1
    answer = np.roll(mask, 2, axis=0)
    tally = tally_model(bundle, FirstBand(bundle), make_place(mask, ("background", "road"), answer=answer),
                        np.ones(mask.shape, bool))
    record = full_record(tally)
    assert record["classes"]["road"]["relaxed_f1"] == 1.0 > record["classes"]["road"]["f1"]
    assert record["paths"]["score"] > 0.95
    assert "objects" not in record


def test_unknown_ground_and_ground_outside_of_the_mask_never_count():
    bundle = make_bundle(("background", "road"))
    mask = random_mask((64, 64), 2)
    wrong = 1 - mask
    wrong[:, 32:] = mask[:, 32:]
    mask_with_gaps = mask.copy()
    mask_with_gaps[:, :16] = UNKNOWN
    right_half = np.zeros(mask.shape, bool)
    right_half[:, 16:] = True
    right_half[:, 16:32] = False
    place = make_place(mask_with_gaps, ("background", "road"), answer=wrong)
    tally = tally_model(bundle, FirstBand(bundle), place, right_half)
    assert tally.confusion.accuracy == 1.0 and tally.confusion.total == 64 * 32
    whole = tally_model(bundle, FirstBand(bundle), place, np.ones_like(right_half))
    assert whole.confusion.total == 64 * 48 and whole.confusion.accuracy == pytest.approx(2 / 3)


def test_how_sure_a_model_is_shows_in_its_calibration_and_in_thresholds():
    bundle = make_bundle(("background", "road"))
    mask = random_mask((80, 80), 2)
    place = make_place(mask, ("background", "road"))
    tally = tally_model(bundle, FirstBand(bundle, sure=0.75), place, np.ones(mask.shape, bool))
    assert tally.calibration_error == pytest.approx(0.25, abs=0.001)
    assert measure_thresholds([tally])["road"]["0.95"]["recall"] == 1.0
    assert measure_thresholds([tally])["road"]["0.95"]["threshold"] == pytest.approx(0.25, abs=0.002)


def test_all_unknown_nothing_at_all_and_no_shared_class_are_said_plainly():
    bundle = make_bundle(("background", "road"))
    engine = FirstBand(bundle)
    unknown = make_place(np.full((40, 40), UNKNOWN, np.uint8), ("background", "road"))
    with pytest.raises(DatasetInvalid, match="nobody knows what is there"):
        examine(bundle, engine, [ground_of(unknown)])
    with pytest.raises(DatasetInvalid, match="no ground to score on"):
        examine(bundle, engine, [])
    with pytest.raises(DatasetInvalid, match="nothing to compare"):
        examine(bundle, engine, [ground_of(make_place(np.zeros((40, 40), np.uint8), ("background", "water")))])


def test_a_single_class_gives_figures_and_no_failure():
    bundle = make_bundle(("background", "road"))
    place = make_place(np.zeros((40, 40), np.uint8), ("background", "road"))
    report = examine(bundle, FirstBand(bundle), [ground_of(place)], pictures=True)
    record = report.record()["ground"][UNSEEN]["rows"]["model"]
    assert record["accuracy"] == 1.0 and record["classes"]["road"]["iou"] is None
    json.dumps(report.record(), allow_nan=False)


@pytest.mark.parametrize("shape", [(41, 40), (40, 39), (20, 80)])
def test_a_mask_of_another_size_than_the_pixels_is_refused(shape):
    bundle = make_bundle(("background", "road"))
    place = make_place(np.zeros((40, 40), np.uint8), ("background", "road"))
    broken = Place("odd", place.pixels, place.valid, place.bounds, place.classes, np.zeros(shape, np.uint8))
    with pytest.raises(DatasetInvalid, match=r"odd: the mask has \["):
        examine(bundle, FirstBand(bundle), [ground_of(broken)])


def test_a_number_without_a_class_is_refused():
    bundle = make_bundle(("background", "road"))
    place = make_place(np.full((40, 40), 3, np.uint8), ("background", "road"), answer=np.zeros((40, 40), int))
    with pytest.raises(DatasetInvalid, match="class 3 in the mask, but there are only 2"):
        examine(bundle, FirstBand(bundle), [ground_of(place)])


def test_a_model_whose_answers_are_no_numbers_is_named():
    bundle = make_bundle(("background", "road"))
    with pytest.raises(BundleInvalid, match="test@0 gives probabilities for here that are no numbers"):
        examine(bundle, FirstBand(bundle, sure=float("nan")), [
            ground_of(make_place(np.zeros((40, 40), np.uint8), ("background", "road")))])


def test_counts_of_a_card_add_up_to_those_of_both_places():
    bundle = make_bundle(("background", "water", "forest"))
    tallies = []
    for seed in (1, 2):
        mask = random_mask((60, 60), 3, seed)
        place = make_place(mask, ("background", "water", "forest"), answer=random_mask((60, 60), 3, seed + 5))
        tallies.append(tally_model(bundle, FirstBand(bundle), place, np.ones(mask.shape, bool)))
    read = [CardCounts.read(json.loads(json.dumps(CardCounts.of(tally).record()))) for tally in tallies]
    summed, whole = (counts.record() for counts in (read[0] + read[1], CardCounts.of(tallies[0] + tallies[1])))
    masses = [record["counts"]["calibration"].pop("mass") for record in (summed, whole)]
    assert masses[0] == pytest.approx(masses[1], abs=0.002)  # a card keeps three digits
    assert summed == whole
    with pytest.raises(BundleInvalid, match="train the fold anew"):
        CardCounts.read({"iou": 0.5})


def test_halving_keeps_the_most_frequent_class_and_forgets_what_is_not_wholly_known():
    mask = np.array([[1, 1, 0, 2, 9], [1, 0, UNKNOWN, 2, 9], [9, 9, 9, 9, 9]], np.uint8)
    place = make_place(mask, tuple("abcdefghij"), answer=np.zeros((3, 5), int))
    halved, kept = match_resolution(place, np.ones((3, 5), bool), finest=1.5)
    np.testing.assert_array_equal(halved.mask, [[1, UNKNOWN]])
    assert halved.gsd == pytest.approx(2.0) and kept.shape == (1, 2)


# --- buildings ----------------------------------------------------------------------------------------------------


BUILDING = {"footprint": {"building": 1.0, "border": 1.0}, "interior": "building", "border_px": 2}


def make_town(seed: int = 3, side: int = 320) -> Place:
    """Twelve houses of 20 x 30 pixels, half a metre each, on the ground of Kampala; the first band shows them."""
    random = np.random.default_rng(seed)
    houses, numbers = [], np.zeros((side, side), int)
    for row, column in ((r, c) for r in range(4) for c in range(3)):
        top, left = 15 + row * 75 + int(random.integers(20)), 15 + column * 100 + int(random.integers(30))
        houses.append(shapely.box(left, top, left + 30, top + 20))
        numbers[top : top + 20, left : left + 30] = 2
        numbers[top + 2 : top + 18, left + 2 : left + 28] = 1
    pixels = np.repeat((numbers * 40 + 20)[..., None], 3, axis=2).astype(np.uint8)
    x, y = 3_627_000.0, 35_000.0
    bounds = (x, y, x + side * 0.5, y + side * 0.5)
    return Place("town", pixels, np.ones((side, side), bool), bounds, outlines=np.array(houses), provenance=OSM)


@pytest.fixture
def builder() -> tuple[Bundle, FirstBand]:
    bundle = make_bundle(("background", "building", "border"), **BUILDING)
    return bundle, FirstBand(bundle)


def write_geojson(path: Path, place: Place, outlines: list) -> None:
    frame = Frame(place.bounds, place.valid.shape)
    features = [
        {"type": "Feature", "properties": {},
         "geometry": frame.to_lonlat(shapely.transform(o, frame.pixels_to_local)).__geo_interface__}
        for o in outlines
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_houses_that_the_network_sees_are_all_found_as_objects(builder):
    bundle, engine = builder
    place = make_town()
    tally = tally_model(bundle, engine, place, np.ones(place.valid.shape, bool))
    assert tally.legend.classes == ("background", "building")
    assert tally.confusion.iou[1] == 1.0
    assert (tally.objects.counts().f1, tally.objects.average_precision(0.5)) == (1.0, 1.0)
    assert tally.outlines.means()["rotation_deg"] < 0.5
    assert count_pixels(bundle, engine, place, np.ones(place.valid.shape, bool)).f1 == 1.0


def test_objects_outside_of_the_held_out_columns_are_neither_right_nor_missed(builder):
    bundle, engine = builder
    place = make_town()
    mask = np.zeros(place.valid.shape, bool)
    mask[:, :115] = True
    counts = tally_model(bundle, engine, place, mask).objects.counts()
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (4, 0, 0)


def test_a_mask_of_buildings_has_objects_as_well(builder):
    bundle, engine = builder
    town = make_town()
    place = Place("masked", town.pixels, town.valid, town.bounds, mask=(town.pixels[..., 0] > 20).astype(np.uint8))
    assert tally_model(bundle, engine, place, np.ones(place.valid.shape, bool)).objects.counts().true_positive == 12


def test_a_map_beside_the_imagery_is_scored_as_the_row_osm_as_it_is(builder, tmp_path):
    place = make_town()
    write_geojson(tmp_path / "osm.geojson", place, list(place.outlines[:6]))
    report = examine(*builder, [ground_of(place, directory=tmp_path)])
    drawn = report.sections[0].rows[2]
    assert drawn.name == "OSM as it is" and "osm.geojson" in drawn.notes[0]
    counts = drawn.tally.objects.counts()
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (6, 0, 6)
    assert drawn.tally.confusion.recall[1] == pytest.approx(0.5, abs=0.01)
    nothing = report.sections[0].rows[1].tally
    assert nothing.objects.counts().f1 == 0.0 and nothing.confusion.recall[1] == 0.0


def test_a_map_is_read_from_osm_data_too(builder, tmp_path):
    place = make_town()
    frame = Frame(place.bounds, place.valid.shape)
    nodes, ways = [], []
    for i, outline in enumerate(place.outlines[:5]):
        ring = shapely.get_coordinates(frame.to_lonlat(shapely.transform(outline, frame.pixels_to_local)))[:-1]
        ids = [i * 10 + k + 1 for k in range(len(ring))]
        nodes += [f'<node id="{n}" version="1" lon="{x:.9f}" lat="{y:.9f}"/>'
                  for n, (x, y) in zip(ids, ring, strict=True)]
        tag = "building" if i < 4 else "landuse"
        ways.append(f'<way id="{i + 1}" version="1">' + "".join(f'<nd ref="{n}"/>' for n in [*ids, ids[0]])
                    + f'<tag k="{tag}" v="yes"/></way>')
    path = tmp_path / "map.osm"
    path.write_text(f'<osm version="0.6">{"".join(nodes)}{"".join(ways)}</osm>')
    assert len(read_map(path)) == 4
    report = examine(*builder, [ground_of(place)], osm=path)
    assert report.sections[0].rows[2].tally.objects.counts().true_positive == 4
    path.write_text("<osm><node")
    with pytest.raises(DatasetInvalid, match="not readable as OSM data"):
        read_map(path)


def test_labels_that_are_osm_are_no_map_to_compare_with_unless_somebody_looked_through_them(builder, tmp_path):
    place = make_town()
    (tmp_path / "tiles").mkdir()
    report = examine(*builder, [ground_of(place, directory=tmp_path)])
    drawn = report.sections[0].rows[2]
    assert drawn.tally is None and drawn.name == "OSM as it is: is the truth"

    # Now with curation: one outline of nothing, and one roof that OSM lacks.
    write_geojson(tmp_path / "labels.geojson", place, [*place.outlines[:11], shapely.box(280, 280, 310, 300)])
    write_geojson(tmp_path / "regions.geojson", place, [shapely.box(275, 275, 315, 305), place.outlines[11]])
    regions = json.loads((tmp_path / "regions.geojson").read_text())
    for feature, kind in zip(regions["features"], ("natural_ghost", "natural_missing"), strict=True):
        feature["properties"]["kind"] = kind
    (tmp_path / "curated_regions.geojson").write_text(json.dumps(regions))
    curated = Place("town", place.pixels, place.valid, place.bounds, outlines=place.outlines[:11],
                    unsure=place.outlines[11:], provenance=OSM)
    report = examine(*builder, [ground_of(curated, directory=tmp_path)])
    drawn = report.sections[0].rows[2]
    assert drawn.name == "OSM before curation" and "upper bound" in drawn.notes[0]
    counts = drawn.tally.objects.counts()
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (11, 1, 1)
    assert report.sections[0].rows[0].tally.objects.counts().false_negative == 0


def test_the_page_stands_alone_and_escapes_what_others_wrote(builder, tmp_path):
    place = make_town()
    nasty = Place('<script>alert("x")</script>', place.pixels, place.valid, place.bounds, outlines=place.outlines,
                  provenance=OSM)
    grounds = [ground_of(nasty), ground_of(make_town(4), TRAINED_ON)]
    path = write_page(examine(*builder, grounds, pictures=True), tmp_path / "page")
    text = path.read_text()
    assert path.name == "index.html"
    assert "<script" not in text and "&lt;script&gt;" in text and "drawn &lt;b&gt;here&lt;/b&gt;" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "://" not in re.sub(r"data:[^\"]*", "", text)
    assert all(word in text for word in ("all background", "Worst tiles", "Confusion", "ODbL-1.0", "<svg"))
    opened: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br"):
                opened.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Check().feed(text)
    assert not opened


def test_ground_that_was_trained_on_never_gives_thresholds(builder):
    assert examine(*builder, [ground_of(make_town(), TRAINED_ON)]).sections[0].thresholds == {}
    assert "building" in examine(*builder, [ground_of(make_town(), HELD_OUT)]).sections[0].thresholds


def test_the_legend_of_a_model_of_buildings_is_the_footprint(builder):
    legend = Legend.of(builder[0])
    place = make_place(np.array([[0, 1, 2, UNKNOWN]], np.uint8), ("background", "building", "border"))
    np.testing.assert_array_equal(legend.truth_of(place), [[0, 1, 1, UNKNOWN]])
    assert legend.objects == 1 and legend.lines is None


def test_a_model_that_sees_the_map_is_shown_one_and_the_page_says_so(tmp_path):
    bundle = make_bundle(("background", "building", "border"), bands=5, osm_bands=("building", "building_distance"),
                         **BUILDING)
    report = examine(bundle, FirstBand(bundle), [ground_of(make_town())], pictures=True)
    assert report.sections[0].model.confusion.iou[1] == 1.0
    assert "may not judge the map" in write_page(report, tmp_path / "page.html").read_text()


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_scores_what_the_card_names_and_writes_a_page(tiny_bundle, workshop, tmp_path):
    page = tmp_path / "out.html"
    done = CliRunner().invoke(main, ["evaluate", str(tiny_bundle.directory), "--data", str(workshop.data), "--json",
                                     "--page", str(page)], catch_exceptions=False)
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    assert list(record["ground"]) == [HELD_OUT]
    model = record["ground"][HELD_OUT]["rows"]["model"]
    assert model["classes"]["building"]["iou"] == pytest.approx(tiny_bundle.card.metrics["held_out"]["town"]["iou"],
                                                                abs=0.01)
    assert sum(map(sum, model["confusion"]["rows_are_truth"])) == 256 * 256
    assert page.stat().st_size > 10_000


def test_the_command_takes_data_sets_by_path_and_prints_a_table(tiny_bundle, workshop):
    runner, bundle = CliRunner(), str(tiny_bundle.directory)
    done = runner.invoke(main, ["evaluate", bundle, str(workshop.data / "town"), "--zoom", "19"])
    assert done.exit_code == 0 and "all background" in done.stdout and "object F1" in done.stdout
    asked = list(asked_ground(tiny_bundle, workshop.data, ["town"]))
    assert [ground.group for ground in asked] == [HELD_OUT]
    missing = runner.invoke(main, ["evaluate", bundle, "nowhere", "--data", str(workshop.data)])
    assert missing.exit_code != 0 and "nowhere: no such data set" in missing.output + str(missing.exception)


def test_a_data_set_of_many_places_has_one_record_in_the_card(tiny_bundle, workshop, tmp_path):
    for number in range(PLACES_IN_CARD + 1):
        shutil.copytree(workshop.data / "town", tmp_path / "data" / "towns" / f"town{number}")
    config = tiny_bundle.card.training["config"]
    sources = [{**config["sources"][0], "path": "towns", "use": "test"}]
    shutil.copytree(tiny_bundle.directory, tmp_path / "bundle")
    bundle = Bundle.load(tmp_path / "bundle").with_card(training={
        **tiny_bundle.card.training, "config": {**config, "sources": sources}})
    scores = evaluate_bundle(bundle, tmp_path / "data").card.metrics[UNSEEN]
    assert list(scores) == ["towns"]
    assert sum(scores["towns"]["pixels"].values()) == (PLACES_IN_CARD + 1) * 3 * 256 * 256


def test_asking_several_times_over_changes_next_to_nothing_where_the_answer_is_sure(tiny_bundle, workshop):
    arguments = ["evaluate", str(tiny_bundle.directory), "--data", str(workshop.data), "--json"]
    once, often = (json.loads(CliRunner().invoke(main, [*arguments, *more]).stdout) for more in ([], ["--augment"]))
    assert often["options"] == {"augment": True} and once["options"] == {}
    iou, again = (r["ground"][HELD_OUT]["rows"]["model"]["classes"]["building"]["iou"] for r in (once, often))
    assert again == pytest.approx(iou, abs=0.1) and again != iou


def test_the_card_keeps_objects_edges_calibration_and_thresholds(tiny_bundle):
    record = tiny_bundle.card.metrics["held_out"]["town"]
    assert record["object_f1"] > 0.8 and record["boundary_f1"] > 0.7 and record["mean_iou"] > 0.8
    assert 0 <= record["calibration_error"] < 0.2
    assert record["counts"]["objects"]["true_positive"] > 5
    assert tiny_bundle.card.thresholds["building"]["0.8"]["precision"] >= 0.8
