"""What stands around the issues of a list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.web.osmose.parameters import Kinds


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Where a list comes from, and in which words it speaks.

    Attributes:
        kinds: what people are told of each kind of claim.
        languages: the most wanted first.
        country, analyser: where they come from.
        base: URL of this server, without a slash at the end.
        query: of the request.
        attributions: whom to name.
        generated: when the list is made.
    """

    kinds: Kinds
    languages: tuple[str, ...]
    country: str
    analyser: str
    base: str
    query: str
    attributions: tuple[str, ...]
    generated: datetime

    @property
    def title(self) -> str:
        return f"Osmose - {self.country}"

    @property
    def credit(self) -> str:
        return "; ".join(self.attributions)
