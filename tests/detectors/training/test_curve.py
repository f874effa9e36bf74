"""The picture shows the course: a falling loss falls, and axes hold all there is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detectors.training.curve import LOSS, MARGINS, PICTURE, SCORE, WIDTH, Course, draw_curves, ticks_between


def pixels_of(image, colour):
    """Rows and columns inside the axes where a curve of that colour is."""
    rows, columns = np.nonzero((image == colour).all(axis=2))
    inside = (columns > MARGINS[0] + 2) & (columns < WIDTH - MARGINS[2] - 2) & (rows > MARGINS[1]) & (rows < 450)
    return rows[inside], columns[inside]


def test_curves_go_where_the_numbers_go():
    records = [{"step": s, "loss": 2.0 - s / 100} for s in range(10, 110, 10)]
    records += [{"step": s, "held_out_f1": s / 200} for s in (50, 100)]
    image = draw_curves(records, "tiny")
    rows, columns = pixels_of(image, LOSS)
    assert np.corrcoef(rows, columns)[0, 1] > 0.99  # down is a larger row
    rows, columns = pixels_of(image, SCORE)
    assert np.corrcoef(rows, columns)[0, 1] < -0.9


def test_a_course_without_lines_and_one_with_odd_numbers_can_be_drawn():
    assert draw_curves([], "nothing yet").shape == (540, 960, 3)
    assert draw_curves([{"step": 1, "loss": -0.3}], "Kâmpala").shape == (540, 960, 3)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.013), (0, 737), (-0.4, 2.2), (0, 0)])
def test_ticks_are_round_and_hold_everything(low, high):
    ticks = ticks_between(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_the_picture_lies_beside_the_lines(tmp_path):
    course = Course(tmp_path)
    course.add({"step": 20, "loss": 1.5})
    course.draw("tiny")
    course.close()
    assert cv2.imread(str(tmp_path / PICTURE)).shape == (540, 960, 3)
