"""How the numbers of a file become those of a chip: which bands, in which order, of which depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.config import Imagery
from daemon.errors import ImageInvalid

#: What `bands` is where nobody said otherwise: red, green, blue, or grey three times.
RED_GREEN_BLUE = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a source gives.

    Attributes:
        bands: the file's bands in the chip's order, counted from 1.
        depth: bits a band of the chip, 8 or 16.
        stretch: (lowest, highest) value that becomes 0 and the largest of `depth`; None: values stay as they are.
    """

    bands: tuple[int, ...] = RED_GREEN_BLUE
    depth: int = 8
    stretch: tuple[float, float] | None = None

    @classmethod
    def of(cls, settings: Imagery) -> Layout:
        return cls(tuple(settings.bands), settings.depth, tuple(settings.stretch) if settings.stretch else None)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"uint{self.depth}")

    @property
    def shape(self) -> tuple[int, int]:
        """How many bands, and of how many bits: what sources must share that fill each other's gaps."""
        return len(self.bands), self.depth

    def choose(self, count: int, origin: str) -> list[int]:
        """Where the chip's bands are among the `count` of a file (without alpha), counted from 0.

        Raises:
            ImageInvalid: the file has too few.
        """
        if count == 1 and self.bands == RED_GREEN_BLUE:
            return [0, 0, 0]
        if max(self.bands) > count:
            raise ImageInvalid(f"{origin}: has {count} bands, but bands = {list(self.bands)} asks for the "
                               f"{max(self.bands)}th; counted from 1, without alpha")
        return [band - 1 for band in self.bands]

    def require(self, dtype: str | np.dtype, origin: str, scaled: bool = False) -> None:
        """Whether values of a type can be told.

        Args:
            scaled: the file says that its values are to be scaled.

        Raises:
            ImageInvalid: not without `stretch`.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in "uif":
            raise ImageInvalid(f"{origin}: values of {dtype} are no picture")
        if self.stretch is not None:
            return
        if scaled:
            raise ImageInvalid(f"{origin}: says by what its values are to be scaled; set stretch = [lowest, highest] "
                               "in the units that come out, e.g. [0.0, 0.3] for reflectance")
        if dtype != self.dtype:
            other = f"depth = {8 * dtype.itemsize}, or " if dtype in (np.uint8, np.uint16) else ""
            raise ImageInvalid(f"{origin}: bands of {dtype}, but depth = {self.depth}; set {other}"
                               "stretch = [lowest, highest] of its values")

    def convert(self, values: np.ndarray, origin: str) -> np.ndarray:
        """Values of whatever type as those of the chip; not a number becomes 0.

        Raises:
            ImageInvalid: see `require`.
        """
        self.require(values.dtype, origin)
        if self.stretch is None:
            return values
        low, high = self.stretch
        most = (1 << self.depth) - 1
        scaled = np.nan_to_num((values.astype(np.float32) - low) * (most / (high - low)), posinf=most, neginf=0)
        return np.clip(np.rint(scaled), 0, most).astype(self.dtype)
