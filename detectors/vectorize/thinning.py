"""A region's skeleton, one pixel wide: the parallel thinning of Guo & Hall.

Guo & Hall, "Parallel thinning with two-subiteration algorithms", Communications of the ACM 32 (1989), algorithm A1.
Which pixels go depends on the eight neighbours alone, so each of both subiterations is one look-up in a table of 256;
only pixels that are still there are looked at.
"""

from __future__ import annotations

import numpy as np

#: Neighbours clockwise from above, (row, column).
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def thin(mask: np.ndarray) -> np.ndarray:
    """bool [H, W] -> bool [H, W]: the skeleton; connected where the region is (8 neighbours), holes stay open."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), dtype=bool)
    padded[1:-1, 1:-1] = mask
    flat = padded.ravel()
    offsets = [row * (width + 2) + column for row, column in AROUND]
    there = np.flatnonzero(flat)
    changed = True
    while changed:
        changed = False
        for table in _TABLES:
            code = np.zeros(len(there), dtype=np.uint8)
            for bit, offset in enumerate(offsets):
                code |= flat[there + offset].astype(np.uint8) << np.uint8(bit)
            going = table[code]
            if going.any():
                flat[there[going]] = False
                there = there[~going]
                changed = True
    return padded[1:-1, 1:-1].copy()


def _deleted(code: int, second: bool) -> bool:
    """Whether a pixel with these neighbours goes in the first or the second subiteration."""
    p2, p3, p4, p5, p6, p7, p8, p9 = (bool(code >> bit & 1) for bit in range(8))
    crossings = sum((not a and (b or c)) for a, b, c in ((p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p9, p2)))
    one = (p9 or p2) + (p3 or p4) + (p5 or p6) + (p7 or p8)
    other = (p2 or p3) + (p4 or p5) + (p6 or p7) + (p8 or p9)
    kept_side = (p6 or p7 or not p9) and p8 if second else (p2 or p3 or not p5) and p4
    return crossings == 1 and 2 <= min(one, other) <= 3 and not kept_side


_TABLES = tuple(np.array([_deleted(code, second) for code in range(256)]) for second in (False, True))
