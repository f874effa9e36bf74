"""The confusion of one class against everything else, as cards keep it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Confusion of footprint pixels; counts add up."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    @property
    def iou(self) -> float:
        """Intersection over union of predicted and labelled footprints; 1 where there are neither."""
        union = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / union if union else 1.0

    @property
    def f1(self) -> float:
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def precision(self) -> float:
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else 1.0

    @property
    def recall(self) -> float:
        real = self.true_positive + self.false_negative
        return self.true_positive / real if real else 1.0

    def record(self) -> dict[str, Any]:
        """JSON-able: the four ratios rounded to four digits, and the counts behind them."""
        ratios = {name: round(getattr(self, name), 4) for name in ("iou", "f1", "precision", "recall")}
        return {**ratios, "pixels": asdict(self)}
