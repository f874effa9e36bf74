"""Packed data sets: what goes in comes out, MXNet can read it, and what is damaged is left out and listed."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate

from detectors.datasets import UNKNOWN, Place, Provenance, Source, equator_bounds, read_source
from detectors.datasets.packing import MANIFEST, pack_places
from detectors.datasets.piece import MAGIC as PIECE
from detectors.datasets.piece import Piece, Whole, decode_piece, encode_piece
from detectors.datasets.recordio import MAGIC, RecordCorrupt, frame, index_path, read_index, unframe
from detectors.datasets.records import RecordSet
from detectors.errors import DatasetInvalid
from detectors.training.config import TrainingConfig
from detectors.training.crops import Batch
from detectors.training.mixup import mix_batch
from detectors.training.record_crops import RecordSampler

ROOT = Path(__file__).parents[3]
OWNER = Provenance("drawn", "MIT", "drawn, too", "CC0-1.0")


def draw(shape: tuple[int, int] = (90, 130), bands: int = 3, dtype: str = "uint8", *, labels: str = "outlines",
         seed: int = 1, name: str = "town") -> Place:
    """A place of noise with labels of either form, holes in its imagery, and outlines across every seam."""
    random = np.random.default_rng(seed)
    height, width = shape
    pixels = random.integers(0, np.iinfo(dtype).max + 1, (*shape, bands)).astype(dtype)
    valid = random.random(shape) > 0.1
    mask, outlines = None, np.array([], dtype=object)
    if labels == "mask":
        mask = random.choice([0, 1, 2, UNKNOWN], shape).astype(np.uint8)
    else:
        outlines = np.array([
            shapely.Polygon(random.uniform(-5, 1, (4, 2)) + random.uniform(0, 1, 2) * (width, height))
            for _ in range(20)
        ])
        outlines[3] = translate(outlines[3], 10_000)  # outside of the imagery, and kept
        outlines[4] = shapely.Polygon([(5, 5), (60, 5), (60, 60)], [[(20, 8), (30, 8), (30, 12)]])
    unsure = np.array([shapely.box(1.25, 2.5, 40, 30)])
    classes = ("background", "wood", "wasser — 水") if labels == "mask" else ("background", "building")
    return Place(name, pixels, valid, equator_bounds(shape, 0.3), classes, mask, outlines, unsure, 2, OWNER)


def same(one: Place, other: Place) -> None:
    """Every byte of both."""
    assert (one.name, one.bounds, one.classes, one.columns, one.provenance) == (
        other.name, other.bounds, other.classes, other.columns, other.provenance)
    assert one.pixels.dtype == other.pixels.dtype and one.pixels.tobytes() == other.pixels.tobytes()
    assert one.pixels.shape == other.pixels.shape and np.array_equal(one.valid, other.valid)
    assert (one.mask is None) == (other.mask is None)
    assert one.mask is None or np.array_equal(one.mask, other.mask)
    for mine, yours in ((one.outlines, other.outlines), (one.unsure, other.unsure)):
        assert [shapely.to_wkb(g) for g in mine] == [shapely.to_wkb(g) for g in yours]
    assert np.array_equal(one.truth(), other.truth())


def source_of(path: str, **keys) -> Source:
    words = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "-")
    return Source(path=path, reader="records", use="train", **words, **keys)


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, list[Place]]:
    """A pack of two places in several shards: 6 pieces of 64 px each."""
    places = [draw(), draw((128, 192), seed=2, name="village")]
    out = tmp_path / "pack"
    pack_places(places, out, side=64, coding="deflate")
    return out, places


@pytest.mark.parametrize("coding", ["raw", "deflate"])
@pytest.mark.parametrize("labels", ["outlines", "mask"])
def test_places_come_back_byte_for_byte(tmp_path: Path, coding, labels: str) -> None:
    places = [draw(labels=labels), draw((64, 64), labels=labels, seed=2, name="town")]
    pack_places(places, tmp_path / "pack", side=32, coding=coding)
    back = read_source(tmp_path, source_of("pack"))
    assert len(back) == 2
    for one, other in zip(places, back, strict=True):
        same(one, other)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_record_of_any_shape_type_and_number_of_bands_comes_back(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    bands, dtype = data.draw(st.integers(1, 20)), data.draw(st.sampled_from(["uint8", "uint16"]))
    labels, coding = data.draw(st.sampled_from(["mask", "outlines"])), data.draw(st.sampled_from(["raw", "deflate"]))
    place = draw(shape, bands, dtype, labels=labels, seed=data.draw(st.integers(0, 2**32)))
    whole = Whole(3, data.draw(st.text(max_size=20)), shape, place.bounds, place.classes, 1, None)
    piece = Piece(whole, (0, 0), place.pixels, place.valid, place.mask, place.outlines,
                  np.arange(len(place.outlines)), place.unsure, np.arange(1))
    back = decode_piece(memoryview(encode_piece(piece, coding)))
    same(piece.place(), back.place())
    assert back.whole == whole and encode_piece(back, coding) == encode_piece(piece, coding)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_or_missing_bytes_of_a_record_are_always_noticed(data: st.DataObject) -> None:
    place = draw((8, 9), labels="mask")
    whole = Whole(0, "x", (8, 9), place.bounds, place.classes, 1, OWNER)
    good = bytearray(encode_piece(Piece(whole, (0, 0), place.pixels, place.valid, place.mask), "deflate"))
    if data.draw(st.booleans()):
        good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del good[data.draw(st.integers(0, len(good) - 1)) :]
    with pytest.raises(RecordCorrupt):
        decode_piece(memoryview(bytes(good)))


@pytest.mark.parametrize("change", [
    {"size": [1 << 19, 1 << 19]}, {"size": [-1, 9]}, {"size": [True, 9]}, {"bands": 65}, {"dtype": "object"},
    {"coding": "pickle"}, {"corner": [5, 0]}, {"bounds": [0, 0, float("nan"), 1]}, {"classes": []},
    {"sections": [1, 2, 3, 4, 5]}, {"sections": [-1] * 5}, {"provenance": [1]}, {"columns": 0}, {"place": -1},
    {"size": None}, {"labels": "video"},
])
def test_a_record_with_a_right_checksum_and_an_impossible_header_is_refused(change: dict) -> None:
    place = draw((8, 9), labels="mask")
    whole = Whole(0, "x", (8, 9), place.bounds, place.classes, 1, OWNER)
    record = encode_piece(Piece(whole, (0, 0), place.pixels, place.valid, place.mask), "raw")
    (length,) = struct.unpack_from("<I", record, 12)
    header = json.dumps(json.loads(record[16 : 16 + length]) | change).encode()
    body = struct.pack("<I", len(header)) + header + record[16 + length :]
    with pytest.raises(RecordCorrupt):
        decode_piece(memoryview(PIECE + struct.pack("<I", zlib.crc32(body)) + body))


def test_a_bomb_is_not_inflated() -> None:
    place = draw((8, 9))
    whole = Whole(0, "x", (8, 9), place.bounds, place.classes, 1, OWNER)
    record = encode_piece(Piece(whole, (0, 0), place.pixels, np.ones((8, 9), bool)), "deflate")
    (length,) = struct.unpack_from("<I", record, 12)
    header = json.loads(record[16 : 16 + length])
    bomb = zlib.compress(bytes(1 << 26), 9)
    text = json.dumps(header | {"sections": [len(bomb), 0, 0, 0, 0]}).encode()
    body = struct.pack("<I", len(text)) + text + bomb
    with pytest.raises(RecordCorrupt, match="do not hold 216 bytes"):
        decode_piece(memoryview(PIECE + struct.pack("<I", zlib.crc32(body)) + body))


def test_mxnet_reads_the_records_with_its_own_reader(packed) -> None:
    from detectors.segmentation.mxnet_runtime import load_mxnet

    mx = load_mxnet()
    path = packed[0] / "000000.rec"
    reader = mx.recordio.MXIndexedRecordIO(str(index_path(path)), str(path), "r")
    assert len(reader.keys) == 12
    with RecordSet(packed[0]) as records:
        for index, key in enumerate(reader.keys):
            header, payload = mx.recordio.unpack(reader.read_idx(key))
            assert header.id == key
            same(decode_piece(memoryview(payload)).place(), records.read(index).place())
    reader.close()


@given(st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(bytes(4))), max_size=12))
def test_framing_is_that_of_mxnet_with_the_magic_number_anywhere(tmp_path_factory, parts: list[bytes]) -> None:
    from detectors.segmentation.mxnet_runtime import load_mxnet

    mx = load_mxnet()
    record = mx.recordio.pack(mx.recordio.IRHeader(0, 0.0, 7, 0), b"".join(parts))
    path = tmp_path_factory.getbasetemp() / "framing.rec"
    writer = mx.recordio.MXRecordIO(str(path), "w")
    writer.write(record)
    writer.close()
    assert path.read_bytes() == frame(record)
    assert bytes(unframe(memoryview(frame(record) + b"more"))) == b"".join(parts)


def test_shards_are_begun_when_one_is_full_and_the_manifest_tells_all(tmp_path: Path) -> None:
    place = draw((1024, 1024), bands=4)
    manifest = pack_places([place], tmp_path / "pack", side=256, shard_mb=1)
    assert len(manifest["shards"]) == 4 and sum(s["records"] for s in manifest["shards"]) == 16 == manifest["records"]
    assert json.loads((tmp_path / "pack" / MANIFEST).read_text()) == manifest
    assert (manifest["classes"], manifest["bands"], manifest["dtype"]) == (["background", "building"], 4, "uint8")
    assert manifest["places"][0]["provenance"]["labels_licence"] == "CC0-1.0"
    assert manifest["gsd_m"] == [pytest.approx(0.3)] * 2
    with RecordSet(tmp_path / "pack") as records:
        assert not records.verify()
        same(place, records.place(0))


def test_records_come_in_a_new_order_each_epoch_and_are_shared_out_among_workers(packed) -> None:
    with RecordSet(packed[0], threads=3) as records:
        assert [piece.corner for piece in records.pieces()] == [records.read(i).corner for i in range(12)]
        assert list(records.order(1, 0)) == list(records.order(1, 0)) != list(records.order(1, 1))
        assert sorted(records.order(1, 0)) == list(range(12))
        shares = [set(records.order(1, 0, rank, 5)) for rank in range(5)]
        assert {len(share) for share in shares} == {2} and len(set.union(*shares)) == 10
        with pytest.raises(DatasetInvalid, match="worker 12 of 13"):
            records.order(1, 0, 12, 13)


def damage_record(path: Path, index: int, at: int = 60) -> None:
    """Flip bits in a record of a shard."""
    position = read_index(path)[index][1]
    with path.open("r+b") as file:
        file.seek(position + at)
        byte = file.read(1)
        file.seek(position + at)
        file.write(bytes([byte[0] ^ 0xFF]))


def test_damaged_records_are_left_out_listed_and_unknown_ground_afterwards(packed) -> None:
    path = packed[0] / "000000.rec"
    damage_record(path, 1)  # in the middle of what it holds
    damage_record(path, 7, 0)  # its magic number
    with RecordSet(packed[0]) as records:
        assert len(list(records.pieces())) == 10
        assert {(d.key, d.reason) for d in records.damage} == {
            (1, "wrong checksum"), (7, "no record starts here: wrong magic number")}
        list(records.pieces())
        assert len(records.damage) == 2, "each is listed once"
        town = records.place(0)
    assert not town.valid[:64, 64:128].any() and (town.truth()[:64, 64:128] == UNKNOWN).all()
    assert np.array_equal(town.pixels[64:], packed[1][0].pixels[64:])
    back = read_source(packed[0].parent, source_of("pack"))
    assert [place.name for place in back] == ["town", "village"]


def test_a_shard_cut_short_loses_only_what_is_cut_off(packed) -> None:
    path = packed[0] / "000000.rec"
    with path.open("r+b") as file:
        file.truncate(read_index(path)[9][1] + 100)
    with RecordSet(packed[0]) as records:
        assert len(list(records.pieces())) == 9
        assert [(d.key, d.reason) for d in records.damage] == [(9, "cut short"), (10, "cut short"), (11, "cut short")]
        assert "its SHA-256 is not that of the manifest" in [d.reason for d in records.verify()]


@pytest.mark.parametrize("index", [None, "rubbish\n", "0\t0\n1\t0\n", "0\t99999999999999999\n"])
def test_without_its_index_a_shard_is_searched(packed, index: str | None) -> None:
    path = packed[0] / "000000.rec"
    index_path(path).unlink() if index is None else index_path(path).write_text(index)
    with RecordSet(packed[0]) as records:
        found = list(records.pieces())
        assert records.damage
        if index != "0\t99999999999999999\n":  # a readable index that is wrong is believed
            assert len(found) == 12
            same(packed[1][0], records.place(0))


def test_the_search_goes_on_behind_damaged_bytes(packed) -> None:
    path = packed[0] / "000000.rec"
    index_path(path).unlink()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size // 3))
    with RecordSet(packed[0]) as records:
        assert 6 <= len(list(records.pieces())) < 12


def test_a_pack_of_nothing_readable_is_an_error_that_lists_why(packed) -> None:
    path = packed[0] / "000000.rec"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DatasetInvalid, match=r"none of 12 records is readable\n  - 000000.rec"):
        read_source(packed[0].parent, source_of("pack"))
    path.unlink()
    with pytest.raises(DatasetInvalid, match="cannot be opened"):
        read_source(packed[0].parent, source_of("pack"))


@pytest.mark.parametrize(("change", "said"), [
    ({"version": 2}, r"version 2 of the format, this mapgap knows up to 1"),
    ({"format": "other"}, '"format" must be'), ({"version": "1"}, '"format" must be'),
    ({"shards": [{"file": "../../etc/passwd.rec", "records": 1, "sha256": ""}]}, r"shards\.0\.file"),
    ({"dtype": "float32"}, "dtype"), ({"places": []}, "places"), ({"bands": 10**9}, "bands"),
])
def test_manifests_that_are_newer_or_impossible_are_refused(packed, change: dict, said: str) -> None:
    path = packed[0] / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetInvalid, match=said):
        RecordSet(packed[0])
    path.write_text("[" * 100_000)
    with pytest.raises(DatasetInvalid, match="not the manifest"):
        RecordSet(packed[0])


def test_records_of_another_pack_are_not_taken(packed, tmp_path: Path) -> None:
    other = tmp_path / "other"
    pack_places([draw(seed=5, name="stranger")], other, side=64)
    for name in ("000000.rec", "000000.idx"):
        shutil.copy(other / name, packed[0] / name)
    with RecordSet(packed[0]) as records:
        assert not list(records.pieces())
        assert "does not list" in records.damage[-1].reason


def test_as_many_bands_as_asked_for(tmp_path: Path) -> None:
    place = draw(bands=5, dtype="uint16")
    pack_places([place], tmp_path / "pack")
    assert read_source(tmp_path, source_of("pack"))[0].pixels.shape[2] == 5
    back = read_source(tmp_path, source_of("pack", bands=2))[0]
    assert np.array_equal(back.pixels, place.pixels[..., :2])
    with pytest.raises(DatasetInvalid, match="5 bands, 6 are asked for"):
        read_source(tmp_path, source_of("pack", bands=6))


def test_what_cannot_be_packed_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    place = draw(labels="mask")
    for places, said in (
        ([], "no places"), ([place, draw(bands=4, labels="mask", name="other")], "other has 4 bands"),
        ([place, draw(name="roofs")], "roofs has 3 bands of uint8 and the classes background, building"),
        ([replace(place, mask=place.mask[:-1])], "a mask of uint8"),
        ([replace(place, mask=np.full_like(place.mask, 9))], "class 9 in the mask"),
        ([replace(place, pixels=place.pixels.astype(np.float32))], "float32"),
        ([replace(place, unsure=np.array([shapely.Point(1, 2)]))], "no polygon"),
    ):
        with pytest.raises(DatasetInvalid, match=said):
            pack_places(places, tmp_path / "pack")
        assert not list(tmp_path.iterdir())
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "something").touch()
    with pytest.raises(DatasetInvalid, match="is not empty"):
        pack_places([place], tmp_path / "pack")


def test_real_imagery_with_osm_buildings_survives(tmp_path: Path, data: Path) -> None:
    words = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "OpenStreetMap")
    (place,) = read_source(data, Source(path="buildings/banepa", zoom=19, use="train", **words))
    sizes = {}
    for coding in ("raw", "deflate"):
        pack_places([place], tmp_path / coding, coding=coding)
        same(place, read_source(tmp_path, source_of(coding))[0])
        sizes[coding] = sum(path.stat().st_size for path in (tmp_path / coding).iterdir())
    assert sizes["deflate"] < 0.8 * sizes["raw"]


def test_the_command_packs_what_a_reader_reads(workshop, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "daemon", "dataset", "pack", str(workshop.data / "town"), "--zoom", "19", "--side",
               "128", "--coding", "deflate", "--out", str(tmp_path / "pack")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 records of 1 places")
    town = Source.model_validate(source_of("town").model_dump(exclude_unset=True) | {"reader": "tiles", "zoom": 19})
    (place,) = read_source(workshop.data, town)
    back = read_source(tmp_path, source_of("pack"))[0]
    same(replace(place, provenance=back.provenance), back)
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert again.returncode == 7 and "is not empty; name a new directory" in again.stderr


def config_of(**crops) -> TrainingConfig:
    return TrainingConfig.model_validate({
        "seed": 3, "model": {"name": "x", "gsd_m": 0.3, "widths": [8, 16]}, "optimiser": {"steps": 1, "batch": 4},
        "sources": [source_of("pack").model_dump(exclude_unset=True)], "split": {"folds": 2, "columns": 1},
        "crops": {"size": 32} | crops,
    })


def test_crops_from_records_are_the_same_whatever_the_threads_and_shared_out_among_workers(packed) -> None:
    with RecordSet(packed[0]) as records:
        runs = []
        for threads in (1, 3):
            with RecordSampler(config_of(), records, threads=threads) as sampler:
                runs.append([sampler.batch(number) for number in (5, 0, 1)])
        for one, other in zip(*runs, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert runs[0][0].pixels.shape == (4, 3, 32, 32) and runs[0][0].target.max() > 0
        with RecordSampler(config_of(), records) as sampler:
            for number, whole in enumerate(runs[0][1:]):
                assert np.array_equal(sampler.batch(0, number, 2).pixels, whole.pixels)


def test_crops_from_records_skip_damage(packed) -> None:
    damage_record(packed[0] / "000000.rec", 2)
    with RecordSet(packed[0]) as records, RecordSampler(config_of(), records) as sampler:
        batches = [sampler.batch(number) for number in range(6)]
        assert all(batch.weight.any() for batch in batches)
        assert [damage.key for damage in records.damage] == [2]


def test_crops_from_records_never_show_what_a_fold_holds_out(tmp_path: Path) -> None:
    place = draw((96, 192))
    secret = place.held_out(1, 1)
    assert secret[:, 96:].all() and not secret[:, :96].any()
    place = replace(place, pixels=np.where(secret[..., None], np.uint8(250), np.uint8(50)).repeat(3, axis=2))
    pack_places([place], tmp_path / "pack", side=80)
    colour = dict.fromkeys(("brightness", "contrast", "gamma", "temperature", "saturation", "grey", "blur", "noise",
                            "jpeg", "shadow"), 0.0)
    config = TrainingConfig.model_validate(config_of().model_dump() | {"colour": colour})
    with RecordSet(tmp_path / "pack") as records:
        for fold, most in ((1, 120), (-1, 255)):
            with RecordSampler(config, records, fold=fold) as sampler:
                brightest = max(int(sampler.batch(number).pixels.max()) for number in range(8))
            assert (brightest > 200) == (most > 200)
            assert brightest <= most


def test_mixup_lays_pictures_over_each_other_and_shares_the_loss_out() -> None:
    random = np.random.default_rng(1)
    batch = Batch(random.integers(0, 256, (6, 3, 8, 8)).astype(np.uint8), random.integers(0, 3, (6, 8, 8)).astype("u1"),
                  random.random((6, 8, 8), dtype=np.float32), np.zeros((6, 0, 8, 8), np.float32))
    shares = []
    for step in range(40):
        first, second = mix_batch(batch, 0.4, 7, step)
        shares.append(first.share)
        assert first.share + second.share == pytest.approx(1)
        assert first.batch.pixels is second.batch.pixels and first.batch.pixels.dtype == np.uint8
        assert np.array_equal(first.batch.target, batch.target)
        partner = [int(np.flatnonzero((batch.target == target).all(axis=(1, 2)))[0]) for target in second.batch.target]
        assert sorted(partner) == list(range(6)) and all(n != p for n, p in enumerate(partner))
        assert np.array_equal(second.batch.weight, batch.weight[partner])
        mixed = first.share * batch.pixels + second.share * batch.pixels[partner].astype(float)
        assert np.abs(first.batch.pixels - mixed).max() <= 0.501
    assert 0.2 < np.mean(shares) < 0.8 and np.std(shares) > 0.25, "Beta(0.4, 0.4) leans to both ends"
    again = mix_batch(batch, 0.4, 7, 3)
    assert again[0].share == shares[3] and mix_batch(batch, 0.4, 8, 3)[0].share != shares[3]
    ((share, same_batch),) = mix_batch(batch, 0.0, 7, 3)
    assert share == 1.0 and same_batch is batch
    assert len(mix_batch(Batch(*(values[:1] for values in batch)), 0.4, 7, 3)) == 1


def test_the_mixed_loss_is_that_of_soft_labels() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(size=(4, 3, 5, 5))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = random.integers(0, 3, (4, 5, 5)).astype(np.uint8)
    batch = Batch(np.zeros((4, 1, 5, 5), np.uint8), target, np.ones((4, 5, 5), np.float32), np.zeros((4, 0, 5, 5)))

    def entropy(soft: np.ndarray) -> float:
        return float(-(soft * logs).sum(axis=1).mean())

    def one_hot(classes: np.ndarray) -> np.ndarray:
        return np.eye(3)[classes].transpose(0, 3, 1, 2)

    parts = mix_batch(batch, 0.4, 1, 1)
    shared = sum(part.share * entropy(one_hot(part.batch.target)) for part in parts)
    assert shared == pytest.approx(entropy(sum(part.share * one_hot(part.batch.target) for part in parts)))


def test_a_pack_that_is_all_held_out_says_so(tmp_path: Path) -> None:
    pack_places([replace(draw(), columns=1)], tmp_path / "pack", side=64)
    with (RecordSet(tmp_path / "pack") as records, RecordSampler(config_of(), records, fold=0) as sampler,
          pytest.raises(DatasetInvalid, match="none of 6 records has ground to train on")):
        sampler.batch(0)
