"""HTTP for everything that mapgap reads from the network or sends there; `Fetcher` is all that the stages use of it.

fetcher   Fetcher: one request with its redirects and its further tries
courtesy  manners towards one server: turns, rests, back-off, circuit breaker
wire      connections that lose patience, and stay out of private networks
body      reading an answer within its limits
"""

from daemon.fetch.fetcher import Fetched, Fetcher, FetchError, shown

__all__ = ["FetchError", "Fetched", "Fetcher", "shown"]
