"""COCO's JSON as the mapping challenge has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.datasets import UNKNOWN
from detectors.datasets.coco import decode_runs
from detectors.errors import DatasetInvalid


@pytest.fixture
def write_coco(tmp_path: Path, write_image: Callable) -> Callable[..., Path]:
    """A picture of 20 x 30 px (height x width) with these annotations."""

    def write(*annotations: dict[str, Any], **image: Any) -> Path:
        write_image(tmp_path / "challenge/images/000000000001.jpg", np.full((20, 30, 3), 99, np.uint8))
        document = {
            "info": {}, "categories": [{"id": 100, "name": "building"}],
            "images": [{"id": 1, "file_name": "000000000001.jpg", "width": 30, "height": 20, **image}],
            "annotations": [{"id": n, "image_id": 1, "category_id": 100, "iscrowd": 0, **a}
                            for n, a in enumerate(annotations)],
        }
        (tmp_path / "challenge/annotation.json").write_text(json.dumps(document))
        return tmp_path / "challenge"

    return write


def test_polygons_become_outlines(write_coco: Callable, read: Callable):
    directory = write_coco(
        {"segmentation": [[5.0, 5.0, 15.0, 5.0, 15.0, 10.0, 5.0, 10.0]]},
        {"segmentation": [[20, 2, 25, 2, 25, 8, 20, 8], [20, 12, 25, 12, 25, 18, 20, 18]]},
    )
    (place,) = read(directory, "coco", gsd_m=0.3)
    assert place.name == "000000000001" and place.classes == ("background", "building")
    assert len(place.outlines) == 3 and place.outlines[0].bounds == (5, 5, 15, 10)
    assert place.truth().sum() == 10 * 5 + 2 * 5 * 6


def test_run_lengths_are_decoded_and_crowds_are_unknown(write_coco: Callable, read: Callable):
    """Down the columns: 40 pixels (two columns) of nothing, one column of object, the rest nothing."""
    runs = {"size": [20, 30], "counts": [40, 20, 540]}
    (place,) = read(write_coco({"segmentation": runs}), "coco", gsd_m=0.3)
    assert place.truth().sum() == 20 and place.truth()[:, 2].all()
    (place,) = read(write_coco({"segmentation": runs, "iscrowd": 1}), "coco", gsd_m=0.3)
    assert (place.truth()[:, 2] == UNKNOWN).all() and place.truth()[:, 3:].sum() == 0


def test_compact_run_lengths_are_those_of_cocos_own_tools():
    """What pycocotools.mask.encode gives for a 4 x 4 mask whose middle 2 x 2 is set: runs 5 2 2 2 5."""
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 1
    assert np.array_equal(decode_runs({"size": [4, 4], "counts": "52203"}, (4, 4)), mask)
    assert np.array_equal(decode_runs({"size": [4, 4], "counts": [5, 2, 2, 2, 5]}, (4, 4)), mask)


@pytest.mark.parametrize("counts", ["5220", "\x00\x01", "P", [5, -2, 13], [1 << 40], []])
def test_run_lengths_that_do_not_add_up_are_refused(write_coco: Callable, read: Callable, counts: Any):
    directory = write_coco({"segmentation": {"size": [20, 30], "counts": counts}})
    with pytest.raises(DatasetInvalid, match="no readable segmentation"):
        read(directory, "coco", gsd_m=0.3)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x.jpg", "a\0b.jpg", "", 5, None])
def test_a_file_name_may_not_lead_out_of_the_set(write_coco: Callable, read: Callable, name: Any):
    with pytest.raises(DatasetInvalid, match=r"leads out of the data set|has no file_name"):
        read(write_coco(file_name=name), "coco", gsd_m=0.3)


def test_a_link_may_not_lead_out_of_the_set(tmp_path: Path, write_coco: Callable, read: Callable):
    directory = write_coco(file_name="link.jpg")
    (tmp_path / "elsewhere.jpg").write_bytes((directory / "images/000000000001.jpg").read_bytes())
    (directory / "images/link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(DatasetInvalid, match="leads out of the data set"):
        read(directory, "coco", gsd_m=0.3)


def test_an_image_of_another_size_than_said_is_refused(write_coco: Callable, read: Callable):
    with pytest.raises(DatasetInvalid, match=r"30 x 20 px, but annotation\.json says 300 x 20"):
        read(write_coco(width=300), "coco", gsd_m=0.3)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"images": [{"id": 1}], "annotations": [{"image_id": 2}]}'])
def test_other_json_is_refused(tmp_path: Path, read: Callable, text: str):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/annotation.json").write_text(text)
    with pytest.raises(DatasetInvalid, match="not COCO's JSON"):
        read(tmp_path / "set", "coco", gsd_m=0.3)


def test_an_empty_set_is_refused(tmp_path: Path, read: Callable):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/annotation.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DatasetInvalid, match="no labelled imagery"):
        read(tmp_path / "set", "coco", gsd_m=0.3)
