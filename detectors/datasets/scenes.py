"""Small pictures that show one thing each: EuroSAT's directories and DeepSat's MAT-files. Every pixel has the class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.matfile import read_matrices
from detectors.datasets.picture import IMAGES, find_files, read_picture
from detectors.datasets.place import DTYPES, UNKNOWN, Place, equator_bounds
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

#: Sentinel-2's finest resolution, at which EuroSAT's pictures are (Helber et al., 2019); DeepSat's are NAIP's at 1 m.
EUROSAT_GSD_M, DEEPSAT_GSD_M = 10.0, 1.0
#: In the order of the columns of y (Basu et al., 2015).
SAT4 = ("barren_land", "trees", "grassland", "other")
SAT6 = ("building", "barren_land", "trees", "grassland", "road", "water")


def read_eurosat(directory: Path, source: Source) -> Sequence[Place]:
    """EuroSAT: a directory a class (Forest/Forest_1.jpg; or .tif with 13 bands of uint16); also others so arranged

    Raises:
        DatasetInvalid: fewer than two classes, or no pictures.
    """
    held = {
        child.name: sorted(p for p in child.iterdir() if p.suffix.lower() in IMAGES)
        for child in (sorted(directory.iterdir()) if directory.is_dir() else []) if child.is_dir()
    }
    held = {name: pictures for name, pictures in held.items() if pictures}
    if len(held) < 2:
        raise DatasetInvalid(f"{directory}: a directory of pictures for each of at least two classes is expected, "
                             f"found {', '.join(held) or 'none'}")
    classes = tuple(held)
    return LazyPlaces([
        lambda path=path, name=name: _read_picture_of(path, classes, name, source)
        for name, pictures in held.items() for path in pictures
    ])


def _read_picture_of(path: Path, classes: tuple[str, ...], name: str, source: Source) -> Place:
    picture = read_picture(path, source.bands, source.band_order, source.dtype)
    mask = np.full(picture.shape, classes.index(name), dtype=np.uint8)
    return Place(f"{name}/{path.stem}", picture.pixels, picture.valid,
                 picture.bounds(path, source.gsd_m or EUROSAT_GSD_M), classes, mask)


def read_deepsat(directory: Path, source: Source) -> Sequence[Place]:
    """DeepSat SAT-4 and SAT-6: a MATLAB file (level 5) with train_x, train_y, test_x, test_y; `use` says which half

    Raises:
        DatasetInvalid: not one such file, arrays that do not fit each other, or MATLAB 7.3.
    """
    files = find_files(directory, source.images or "*", (".mat",))
    if len(files) != 1:
        raise DatasetInvalid(f'{directory}: {len(files)} MAT-files; name one by images = "sat-6-full.mat"')
    path = files[0]
    names = (f"{source.use}_x", f"{source.use}_y")
    arrays = read_matrices(path, names)
    lacking = [name for name in names if name not in arrays]
    if lacking:
        raise DatasetInvalid(f"{path}: no array {', '.join(lacking)}")
    pixels, answers = (arrays[name] for name in names)
    classes = {len(SAT4): SAT4, len(SAT6): SAT6}.get(answers.shape[0])
    if (pixels.ndim != 4 or answers.ndim != 2 or classes is None or pixels.shape[3] != answers.shape[1]
            or pixels.dtype.name not in DTYPES):
        raise DatasetInvalid(f"{path}: {names[0]} {list(pixels.shape)} {pixels.dtype} and {names[1]} "
                             f"{list(answers.shape)} are not [28, 28, 4, N] of uint8 and [4 or 6, N]")
    wanted = source.band_order or tuple(range(1, source.bands + 1))
    if max(wanted) > pixels.shape[2]:
        raise DatasetInvalid(f"{path}: {pixels.shape[2]} bands, the source asks for band {max(wanted)}")

    def read(number: int) -> Place:
        answer = np.asarray(answers[:, number])
        index = int(answer.argmax()) if answer.sum() == 1 and answer.max() == 1 else UNKNOWN
        picture = np.ascontiguousarray(np.asarray(pixels[:, :, :, number])[:, :, [band - 1 for band in wanted]])
        shape = picture.shape[:2]
        return Place(f"{source.use}_{number}", picture, np.ones(shape, dtype=bool),
                     equator_bounds(shape, source.gsd_m or DEEPSAT_GSD_M), classes,
                     np.full(shape, index, dtype=np.uint8))

    return LazyPlaces([lambda number=number: read(number) for number in range(pixels.shape[3])])
