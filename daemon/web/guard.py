"""Who may give verdicts, and how many."""

from __future__ import annotations

import hmac
import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from daemon.errors import TokenWrong, TooManyRequests

#: Addresses that are remembered; the one not heard of for longest is forgotten first.
REMEMBERED = 10_000
SECONDS_PER_HOUR = 3600.0
#: The share of an hour's verdicts that may be given at once.
BURST = 0.1


class Allowance:
    """A token bucket for each address: it fills evenly, and what is in it may be used at once. Safe between threads.

    Args:
        per_hour: what flows in.
        remembered: addresses that are kept at most.
        clock: seconds, monotonic.
    """

    def __init__(self, per_hour: float, remembered: int = REMEMBERED, clock: Callable[[], float] = time.monotonic):
        self._rate = per_hour / SECONDS_PER_HOUR
        self._most = max(1.0, per_hour * BURST)
        self._remembered = remembered
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (content, when)

    def take(self, address: str) -> float:
        """Use one; 0.0 where there was one, else the seconds until there will be, and nothing was used."""
        with self._lock:
            now = self._clock()
            content, since = self._buckets.pop(address, (self._most, now))
            content = min(self._most, content + (now - since) * self._rate)
            wait = 0.0 if content >= 1 else (1 - content) / self._rate
            self._buckets[address] = (content if wait else content - 1, now)
            while len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
            return wait


class Guard:
    """Lets verdicts in.

    Args:
        token: what a call that changes verdicts must bring; None: none is configured.
        per_hour: verdicts of one address.
        open_verdicts: Osmose's calls need no token although there is one.
    """

    def __init__(self, token: str | None, per_hour: float, open_verdicts: bool):
        self._token = token
        self._open = open_verdicts
        self.allowance = Allowance(per_hour)

    def check_osmose(self, address: str, authorization: str | None) -> None:
        """A verdict by Osmose's API, whose clients know of no token.

        Args:
            address: of the client, as the request's `client` says.
            authorization: the header, "Bearer TOKEN".

        Raises:
            TokenWrong: there is a token, and it was not brought.
            TooManyRequests: from this address.
        """
        self._count(address)  # first: a guess at the token costs as much as a verdict
        if self._token is not None and not self._open:
            self._check_token(authorization)

    def check_review(self, address: str, authorization: str | None) -> None:
        """A verdict by the own API; without a configured token nobody gives one.

        Raises:
            TokenWrong, TooManyRequests: as `check_osmose`.
        """
        self._count(address)
        if self._token is None:
            raise TokenWrong("reviews are not taken here: no token is configured (web.token_env, web.token_file)")
        self._check_token(authorization)

    def knows(self, authorization: str | None) -> bool:
        """Whether the token was brought; without a configured one nobody brings it."""
        scheme, _, brought = (authorization or "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        # Compared as bytes: compare_digest refuses text beyond ASCII.
        return hmac.compare_digest(brought.strip().encode(), self._token.encode())

    def _check_token(self, authorization: str | None) -> None:
        if not self.knows(authorization):
            raise TokenWrong("the header `Authorization: Bearer TOKEN` is missing, or its token is another")

    def _count(self, address: str) -> None:
        wait = self.allowance.take(_neighbourhood(address))
        if wait:
            raise TooManyRequests("too many verdicts from this address; see Retry-After", math.ceil(wait))


def _neighbourhood(address: str) -> str:
    """The address; of IPv6 the network of 64 bits, all of which one client may have."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))
