"""What an OSM file says of where it comes from: the replication server, its sequence, and the time of the data.

The three keys of a PBF's header are those of Osmosis, https://wiki.openstreetmap.org/wiki/PBF_Format (OSMHeader):
osmosis_replication_base_url, osmosis_replication_sequence_number, osmosis_replication_timestamp.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import osmium

from daemon.config import server_of
from daemon.errors import PbfInvalid
from daemon.fetch import shown


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file comes from.

    Attributes:
        url: of the replication server, "" where it names none.
        sequence: of that server: the last change file that is in the file; None where it does not say.
        timestamp: of the data (UTC), None where it does not say.
    """

    url: str
    sequence: int | None
    timestamp: datetime | None

    @classmethod
    def of(cls, header: osmium.io.Header) -> Origin:
        number = header.get("osmosis_replication_sequence_number")
        sequence = int(number) if number.isascii() and number.isdecimal() and len(number) < 18 else None
        try:
            time = datetime.fromisoformat(header.get("osmosis_replication_timestamp").replace("Z", "+00:00"))
            timestamp = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):
            timestamp = None
        return cls(header.get("osmosis_replication_base_url"), sequence, timestamp)

    @classmethod
    def read(cls, path: Path) -> Origin:
        """That of a file.

        Raises:
            PbfInvalid: it is not there or not readable.
        """
        try:
            with osmium.io.Reader(str(path), osmium.osm.NOTHING) as reader:
                return cls.of(reader.header())
        except (RuntimeError, OSError) as error:
            raise PbfInvalid(f"{path}: cannot be read as OSM data: {error}") from None

    def sequence_on(self, url: str) -> int | None:
        """The sequence after which to follow the server of `url`; None where it means nothing there."""
        return self.sequence if server_of(self.url) == server_of(url) else None

    def describe_start(self, url: str) -> str:
        """Where following `url` begins with this file, and why; one line."""
        known = self.sequence_on(url)
        if known is not None:
            return f"following begins after sequence {known}, as the file's header says"
        when = f"{self.timestamp:%Y-%m-%d %H:%M} UTC" if self.timestamp else "that of its newest edit"
        by_time = f"the start is found by time ({when}, less replication.step_back)"
        if not self.url:
            return f"the file names no replication server: {by_time}"
        if server_of(self.url) == server_of(url):
            return f"the file names the server, but no sequence: {by_time}"
        return (
            f"the file names another server, {shown(self.url)} (sequence {self.sequence}), than replication.url, "
            f"{shown(url)}: {by_time}. To go on exactly where the file ends, set replication.url to the file's"
        )
