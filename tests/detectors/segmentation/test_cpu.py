"""Whether 8 bits mean here what they meant where they were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectors.segmentation import Bundle
from detectors.segmentation.engines import base
from detectors.segmentation.engines.base import default_precision, precisions_here
from detectors.segmentation.engines.cpu import multiplies_bytes_exactly


@pytest.mark.parametrize(
    ("flags", "exactly"),
    [("fpu sse4_2 avx2 fma", False), ("avx2 avx512f avx512_vnni", True), ("avx2 avx_vnni", True), ("fp asimddp", True)],
)
def test_a_processor_is_known_by_its_flags(tmp_path: Path, flags: str, exactly: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert multiplies_bytes_exactly(tmp_path / "cpuinfo") is exactly
    assert multiplies_bytes_exactly(tmp_path / "absent") is False


@pytest.mark.parametrize(("exactly", "default"), [(True, "int8"), (False, "bf16")])
def test_where_bytes_overflow_the_next_precision_is_the_default(monkeypatch, exactly: bool, default: str) -> None:
    monkeypatch.setattr(base, "multiplies_bytes_exactly", lambda: exactly)
    card = Bundle.load("building").card
    assert card.precision == "int8" and default_precision(card) == default
    assert ("int8" in precisions_here(card)) is exactly
