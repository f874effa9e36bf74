"""Pictures of one class each: EuroSAT's directories, DeepSat's MAT-files, label-maker's arrays."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.datasets import UNKNOWN, spool
from detectors.errors import DatasetInvalid


def test_eurosat_has_a_directory_a_class(tmp_path: Path, write_image: Callable, read: Callable):
    random = np.random.default_rng(5)
    for name in ("Forest", "AnnualCrop", "River"):
        for number in (1, 2):
            write_image(tmp_path / f"tif/{name}/{name}_{number}.tif",
                        random.integers(0, 5000, (64, 64, 13), dtype=np.uint16), step=10.0)
            write_image(tmp_path / f"jpg/{name}/{name}_{number}.jpg", random.integers(0, 255, (64, 64, 3), np.uint8))
    places = read(tmp_path / "tif", "eurosat", bands=13)
    assert len(places) == 6 and places[0].classes == ("AnnualCrop", "Forest", "River")
    assert [p.name for p in places][2:4] == ["Forest/Forest_1", "Forest/Forest_2"]
    assert (places[2].truth() == 1).all() and places[2].pixels.shape == (64, 64, 13)
    assert places[2].pixels.dtype == np.uint16 and places[2].gsd == pytest.approx(10)
    pictures = read(tmp_path / "jpg", "eurosat")
    assert pictures[5].pixels.shape == (64, 64, 3) and pictures[5].gsd == pytest.approx(10)
    assert (pictures[5].truth() == 2).all()


def test_one_directory_is_no_classes(tmp_path: Path, write_image: Callable, read: Callable):
    write_image(tmp_path / "set/Forest/Forest_1.jpg", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "set/Empty").mkdir()
    with pytest.raises(DatasetInvalid, match="found Forest"):
        read(tmp_path / "set", "eurosat")


def element(kind: int, data: bytes) -> bytes:
    """A data element of a level 5 MAT-file, padded to 8 bytes."""
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(name: str, array: np.ndarray) -> bytes:
    """miMATRIX: array flags, dimensions, name, real part."""
    array_class, kind = {"uint8": (9, 2), "float64": (6, 9)}[array.dtype.name]
    short = name.encode()
    named = struct.pack("<HH4s", 1, len(short), short) if len(short) <= 4 else element(1, short)
    return element(14, element(6, struct.pack("<II", array_class, 0))
                   + element(5, np.array(array.shape, "<i4").tobytes()) + named
                   + element(kind, array.tobytes(order="F")))


def write_mat(path: Path, arrays: dict[str, np.ndarray], *, packed: bool) -> Path:
    text = b"MATLAB 5.0 MAT-file, written by a test".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    parts = [matrix(name, array) for name, array in arrays.items()]
    if packed:
        parts = [struct.pack("<II", 15, len(z)) + z for z in map(zlib.compress, parts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text + b"".join(parts))
    return path


@pytest.fixture
def sat6() -> dict[str, np.ndarray]:
    random = np.random.default_rng(6)
    answers = np.zeros((6, 5), np.float64)
    answers[[0, 5, 3, 4], [0, 1, 2, 3]] = 1  # the fifth picture has no answer
    return {
        "annotations": np.zeros((2, 2), np.uint8),
        "train_x": random.integers(0, 255, (28, 28, 4, 5), dtype=np.uint8), "train_y": answers,
        "test_x": random.integers(0, 255, (28, 28, 4, 2), dtype=np.uint8), "test_y": answers[:, :2],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_deepsat_is_read_from_matlab_level_5(
    tmp_path: Path, read: Callable, sat6: dict[str, np.ndarray], packed: bool
):
    write_mat(tmp_path / "sat/sat-6-full.mat", sat6, packed=packed)
    places = read(tmp_path / "sat", "deepsat", bands=4)
    assert len(places) == 5 and places[0].classes[0] == "building" and places[0].classes[5] == "water"
    assert np.array_equal(places[3].pixels, sat6["train_x"][..., 3])
    assert [int(p.truth()[0, 0]) for p in places] == [0, 5, 3, 4, UNKNOWN]
    assert places[0].gsd == pytest.approx(1.0)
    tested = read(tmp_path / "sat", "deepsat", bands=1, band_order=[4], use="test")
    assert np.array_equal(tested[1].pixels[..., 0], sat6["test_x"][:, :, 3, 1])


def test_matlab_7_3_is_refused_with_what_to_do(tmp_path: Path, read: Callable):
    (tmp_path / "sat").mkdir()
    (tmp_path / "sat/sat.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\0" * 400)
    with pytest.raises(DatasetInvalid, match="-v7"):
        read(tmp_path / "sat", "deepsat", bands=4)


@pytest.mark.parametrize("packed", [False, True])
def test_a_mat_file_that_was_cut_off_is_named(
    tmp_path: Path, read: Callable, sat6: dict[str, np.ndarray], packed: bool
):
    path = write_mat(tmp_path / "sat/sat.mat", sat6, packed=packed)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DatasetInvalid, match=r"sat\.mat: .*(cut off|too early)"):
        read(tmp_path / "sat", "deepsat", bands=4)


def test_answers_that_do_not_fit_the_pictures_are_refused(
    tmp_path: Path, read: Callable, sat6: dict[str, np.ndarray]
):
    write_mat(tmp_path / "sat/sat.mat", sat6 | {"train_y": sat6["train_y"][:, :4]}, packed=True)
    with pytest.raises(DatasetInvalid, match=r"are not \[28, 28, 4, N\]"):
        read(tmp_path / "sat", "deepsat", bands=4)
    write_mat(tmp_path / "sat/sat.mat", {"test_x": sat6["test_x"]}, packed=True)
    with pytest.raises(DatasetInvalid, match="no array train_x, train_y"):
        read(tmp_path / "sat", "deepsat", bands=4)


def test_a_zip_bomb_in_a_mat_file_ends_at_the_limit(tmp_path: Path, read: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "MAX_BYTES", 1 << 20)
    bomb = {"train_x": np.zeros((28, 28, 4, 2000), np.uint8), "train_y": np.ones((6, 2000), np.float64)}
    path = write_mat(tmp_path / "sat/sat.mat", bomb, packed=True)
    assert path.stat().st_size < 50_000
    with pytest.raises(DatasetInvalid, match="unpacks to more than 1048576 bytes"):
        read(tmp_path / "sat", "deepsat", bands=4)


BINARY = {"label_classes": {"0": "background", "1": "building"}, "gsd_m": 0.6}


def write_npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_label_makers_segmentation_and_classification(tmp_path: Path, read: Callable):
    random = np.random.default_rng(7)
    pictures = random.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    masks = random.integers(0, 2, (3, 32, 32), dtype=np.int64)
    write_npz(tmp_path / "set/data.npz", x_train=pictures, y_train=masks, x_test=pictures[:1], y_test=masks[:1])
    places = read(tmp_path / "set", "labelmaker", **BINARY)
    assert len(places) == 3 and places[2].gsd == pytest.approx(0.6)
    assert np.array_equal(places[2].pixels, pictures[2]) and np.array_equal(places[2].truth(), masks[2])
    assert len(read(tmp_path / "set", "labelmaker", use="test", **BINARY)) == 1
    hot = np.array([[1, 0], [0, 1], [1, 1]])
    write_npz(tmp_path / "set/data.npz", x_train=pictures, y_train=hot)
    places = read(tmp_path / "set", "labelmaker", **BINARY)
    assert [int(p.truth()[0, 0]) for p in places] == [0, 1, UNKNOWN]


def test_python_objects_are_never_unpickled(tmp_path: Path, read: Callable):
    trap = tmp_path / "sprung"
    boxes = np.empty(1, dtype=object)
    boxes[0] = _Trap(trap)
    write_npz(tmp_path / "set/data.npz", x_train=np.zeros((1, 8, 8, 3), np.uint8), y_train=boxes)
    with pytest.raises(DatasetInvalid, match="Python objects"):
        read(tmp_path / "set", "labelmaker", **BINARY)
    assert not trap.exists()


class _Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_broken_and_unfitting_archives_are_named(tmp_path: Path, read: Callable, monkeypatch: pytest.MonkeyPatch):
    path = write_npz(tmp_path / "set/data.npz", x_train=np.zeros((2, 8, 8, 3), np.uint8),
                     y_train=np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DatasetInvalid, match="do not fit"):
        read(tmp_path / "set", "labelmaker", **BINARY)
    with pytest.raises(DatasetInvalid, match="no array x_test"):
        read(tmp_path / "set", "labelmaker", use="test", **BINARY)
    with pytest.raises(DatasetInvalid, match="needs label_classes"):
        read(tmp_path / "set", "labelmaker")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DatasetInvalid, match="not a readable"):
        read(tmp_path / "set", "labelmaker", **BINARY)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 8, 8, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(DatasetInvalid, match="cut off"):
        read(tmp_path / "set", "labelmaker", **BINARY)
