"""The feed over a ledger as a test asks it, and the server's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from claims import NOW, Ledger
from web_server import Served

from daemon.discrepancies.life import publish
from detectors.base import Claim

TOKEN = "a token of the tests"


class Clock:
    """The server's; it goes when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Feed:
    """The server over the ledger. Paths are those behind /api/0.3."""

    def __init__(self, served: Served, ledger: Ledger, clock: Clock):
        self.served, self.ledger, self.clock = served, ledger, clock

    def show(self, *claims: Claim) -> list[str]:
        """Publish claims; their uuids, in the order of the claims."""
        keys = self.ledger.open(*claims)
        with self.ledger.cursor() as cursor:
            publish(cursor, keys, now=NOW)
        return [self.uuid(key) for key in keys]

    def uuid(self, key: str) -> str:
        ((uuid,),) = self.ledger.all("SELECT uuid::text FROM discrepancy WHERE key = %s", key)
        return uuid

    def key(self, uuid: str) -> str:
        ((key,),) = self.ledger.all("SELECT key FROM discrepancy WHERE uuid = %s", uuid)
        return key

    def get(self, path: str, **options):
        return self.served.get(f"/api/0.3{path}", **options)

    def ask(self, method: str, path: str, **options):
        return self.served.ask(method, f"/api/0.3{path}", **options)

    def json(self, path: str, **options):
        return self.served.json(f"/api/0.3{path}", **options)

    def listed(self, query: str = "") -> list[str]:
        """The uuids in a list."""
        return [issue["id"] for issue in self.json(f"/issues?{query}")["issues"]]

    def status(self, path: str, **options) -> int:
        return self.get(path, **options).status_code
