"""What the benchmarks share: a table, the real replay, and the bundle that ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

WIDTH = 130


@pytest.fixture
def show() -> Callable[..., None]:
    """Prints a table: title, names of the columns, rows."""

    def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(title=title)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for row in rows:
            table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
        console = Console()
        (console if console.is_terminal else Console(width=WIDTH)).print(table)

    return print_table


@pytest.fixture
def replay_buildings(data: Path) -> Path:
    directory = data / "replay_buildings"
    if not directory.is_dir():
        pytest.skip(f"no replay_buildings in {data}")
    return directory
