"""The server: [web]."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from daemon.sections.section import Section, knob


def _check_network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


class Web(Section):
    """The server of `mapgap serve`: Osmose's API, the own API, metrics. Whoever reaches it may read all of it."""

    enabled: bool = knob(False, "`mapgap run` serves, too; off, only `mapgap serve` does")
    host: str = knob(
        "127.0.0.1", "address to listen on; one that other machines reach is refused without a token", min_length=1
    )
    port: int = knob(8585, "port to listen on; 0: any that is free, named in the log", "TCP port", ge=0, le=65535)
    public_url: str = knob(
        "", "how the world reaches the server, e.g. https://mapgap.example.org; for links in feeds",
        pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$",
    )
    token_env: str = knob("", "environment variable that holds the token which calls that change verdicts must bring")
    token_file: Path | None = knob(None, "file with mode 0600 that holds the token")
    open_verdicts: bool = knob(
        False, "editors such as Vespucci bring no token: let Osmose's `done` and `false` do without one"
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_network)], ...] = knob(
        (), "only these may name the client by X-Forwarded-For, e.g. [\"127.0.0.1\"]", "addresses or networks"
    )
    verdicts_per_hour: float = knob(
        600.0, "verdicts that one address may give; a tenth of it at once", "verdicts per hour", gt=0
    )
    max_issues: int = knob(100_000, "Osmose: most issues that one list holds", "issues", ge=1, le=1_000_000)
    max_tile_issues: int = knob(10_000, "Osmose: most issues that one tile holds", "issues", ge=1, le=100_000)
    max_page: int = knob(1000, "own API: most discrepancies that one page holds", "discrepancies", ge=1, le=100_000)
    max_bbox: float = knob(
        1.0, "own API: largest box whose coverage is told", "square degrees", gt=0, le=64800
    )
    max_picture: int = knob(1024, "longest side of a picture", "pixels", ge=64, le=4096)
    picture_timeout: float = knob(10.0, "patience with imagery that is not on this machine", "seconds", gt=0)
    max_body: int = knob(65_536, "a larger body of a request is refused", "bytes", ge=1024)
    max_head: int = knob(65_536, "a longer request line with headers is refused", "bytes", ge=4096)
    timeout: float = knob(
        10.0, "a client that takes longer to ask, or to take a piece of an answer, is dropped; a longer query is ended",
        "seconds", gt=0,
    )
    keep_alive: float = knob(5.0, "an idle connection is closed after this", "seconds", gt=0)
    connections: int = knob(
        200, "connections of clients at a time; further ones are told to come again", "connections", ge=4
    )
    workers: int = knob(4, "worked on at a time, each with a connection to the database", "requests", ge=2, le=64)

    @model_validator(mode="after")
    def _guarded(self) -> Web:
        if not self.is_local and not (self.token_env or self.token_file):
            raise ValueError(
                f"host = {self.host!r} can be reached by other machines, and anybody there could give verdicts; name a "
                "token by web.token_env or web.token_file, or listen on 127.0.0.1 behind a proxy"
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
