"""Every failure that mapgap knows by name, and the exit code the command line gives it.

    MapgapError                     1
    ├── ConfigError                 2   config.toml is wrong; lists every problem
    ├── DatabaseError               3
    │   ├── DatabaseUnavailable         server gone or refusing; worth another try
    │   ├── DatabaseLocked              another daemon works on this database
    │   └── MigrationError              schema newer than the program, or a migration failed
    ├── ReplicationError            4
    │   ├── ReplicationUnavailable      time-out, 5xx, connection refused; worth another try
    │   ├── ReplicationMissing          404 / 410: not there
    │   │   └── ReplicationNotYet           state.txt is ahead of its data; worth another try
    │   ├── ReplicationRefused          401 / 403 / other 4xx: asking again will not help
    │   │   └── LoginRequired               the server wants a cookie, or a newer one
    │   ├── StateInvalid                state.txt is not a state file
    │   ├── SequenceGap                 the next file is not the successor of the last one
    │   │   └── TooFarBehind                the server has removed what comes next; a newer extract is needed
    │   └── ChangeFileInvalid           truncated, not gzip, too large, not OSM XML
    ├── OsmDataError                5
    │   ├── PbfInvalid                  not a readable OSM file
    │   ├── AreaEmpty                   the file has nothing inside the area
    │   ├── NotBootstrapped             the store is empty: run `mapgap bootstrap` first
    │   ├── Osm2pgsqlUnusable           osm2pgsql's database lacks something; says what
    │   └── Osm2pgsqlNotYet             osm2pgsql has not come so far yet; worth another try
    ├── ImageryError                6
    │   ├── ImageryForbidden            no licence, attribution or permission to use it for OSM
    │   ├── ImageryUnavailable          server failing; worth another try
    │   └── ImageInvalid                corrupt, too large, wrong size, not an image
    ├── StorageFull                 8   no space left on device
    ├── DiscrepancyError            9
    │   ├── DiscrepancyUnknown          no discrepancy has this key
    │   ├── TransitionIllegal           its state does not allow this step
    │   ├── ClaimInvalid                a detector said something that cannot be kept
    │   └── ReviewsInvalid              a file of verdicts has lines that cannot be taken; names every one
    ├── PublishError                10  a feed cannot be written where it should be
    │   ├── FrontendUnavailable         Osmose: time-out, 5xx, connection refused; worth another try
    │   ├── FrontendRefused             Osmose: no such source, or another code; or it is no frontend at all
    │   └── DocumentRefused             Osmose: what was sent could not be merged; nothing of it was
    ├── LeaseLost                   11  a worker was silent so long that its block was given away; worth another try
    ├── MapRouletteError            12
    │   ├── MapRouletteUnavailable      time-out, 5xx, connection refused; worth another try
    │   ├── MapRouletteRefused          403: the key's owner may not write to the project
    │   │   └── KeyRefused              401: the key is missing, or not valid any more
    │   ├── MapRouletteMissing          404: no such project, challenge or task
    │   ├── MapRouletteInvalid          400 / 415: what was sent is wrong; asking again will not help
    │   ├── NameTaken                   500 whose message says so: another has the name
    │   ├── TaskLocked                  403: somebody else has the task open; worth another try
    │   ├── LockConflict                409: this account has another task open
    │   ├── ChallengeBusy               the challenge is being built or emptied; worth another try
    │   ├── ChallengeFull               the challenge has as many tasks as the server allows
    │   ├── UploadTooLarge              413
    │   └── ReplyInvalid                what came is not what the API promises
    └── WebError                    13  the server cannot serve, e.g. its port is taken
        └── RequestRefused              what one request asks for is not given; the client is told why
            ├── RequestInvalid              it makes no sense
            ├── RequestTooLarge             it asks for, or brings, more than is allowed
            ├── TokenWrong                  verdicts need a token, and it was not brought
            ├── TooManyRequests             from one address
            ├── NotHere                     there is no such thing, or no longer
            └── NotNow                      it cannot be had at present; worth another try

    detectors.errors.ModelError     7   what the detectors raise by themselves; they know nothing of this package

A message says what happened, where (key, file, URL without secrets), and what to do.
"""

from __future__ import annotations


class MapgapError(Exception):
    """Root of every named failure; `exit_code` is what the process ends with."""

    exit_code = 1
    #: True where the same call may succeed later without anyone changing anything.
    transient = False


class ConfigError(MapgapError):
    """The configuration is unusable. `problems` holds one line for each wrong key."""

    exit_code = 2

    def __init__(self, source: str, problems: list[str]):
        self.source = source
        self.problems = list(problems)
        count = len(self.problems)
        heading = f"{source}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n  - ".join([heading, *self.problems]))


class DatabaseError(MapgapError):
    exit_code = 3


class DatabaseUnavailable(DatabaseError):
    transient = True


class DatabaseLocked(DatabaseError):
    pass


class MigrationError(DatabaseError):
    pass


class ReplicationError(MapgapError):
    exit_code = 4


class ReplicationUnavailable(ReplicationError):
    transient = True


class ReplicationMissing(ReplicationError):
    pass


class ReplicationNotYet(ReplicationMissing):
    transient = True


class ReplicationRefused(ReplicationError):
    pass


class LoginRequired(ReplicationRefused):
    pass


class StateInvalid(ReplicationError):
    pass


class SequenceGap(ReplicationError):
    pass


class TooFarBehind(SequenceGap):
    pass


class ChangeFileInvalid(ReplicationError):
    pass


class OsmDataError(MapgapError):
    exit_code = 5


class PbfInvalid(OsmDataError):
    pass


class AreaEmpty(OsmDataError):
    pass


class NotBootstrapped(OsmDataError):
    pass


class Osm2pgsqlUnusable(OsmDataError):
    pass


class Osm2pgsqlNotYet(OsmDataError):
    transient = True


class ImageryError(MapgapError):
    exit_code = 6


class ImageryForbidden(ImageryError):
    pass


class ImageryUnavailable(ImageryError):
    transient = True


class ImageInvalid(ImageryError):
    pass


class StorageFull(MapgapError):
    exit_code = 8


class DiscrepancyError(MapgapError):
    exit_code = 9


class DiscrepancyUnknown(DiscrepancyError):
    pass


class TransitionIllegal(DiscrepancyError):
    pass


class ClaimInvalid(DiscrepancyError):
    pass


class ReviewsInvalid(DiscrepancyError):
    pass


class PublishError(MapgapError):
    exit_code = 10


class FrontendUnavailable(PublishError):
    """`retry_after`: seconds after which to ask again, where the frontend said so."""

    transient = True

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class FrontendRefused(PublishError):
    pass


class DocumentRefused(PublishError):
    pass


class LeaseLost(MapgapError):
    exit_code = 11
    transient = True


class MapRouletteError(MapgapError):
    exit_code = 12


class MapRouletteUnavailable(MapRouletteError):
    """`answered` is True where the server itself says that it failed; if not, what was asked for may have been done."""

    transient = True

    def __init__(self, message: str, answered: bool = False):
        super().__init__(message)
        self.answered = answered


class MapRouletteRefused(MapRouletteError):
    pass


class KeyRefused(MapRouletteRefused):
    pass


class MapRouletteMissing(MapRouletteError):
    pass


class MapRouletteInvalid(MapRouletteError):
    pass


class NameTaken(MapRouletteError):
    pass


class TaskLocked(MapRouletteError):
    transient = True


class LockConflict(MapRouletteError):
    """`task` is the id of the task that the account has open, None where the server does not say."""

    def __init__(self, message: str, task: int | None):
        super().__init__(message)
        self.task = task


class ChallengeBusy(MapRouletteError):
    transient = True


class ChallengeFull(MapRouletteError):
    pass


class UploadTooLarge(MapRouletteError):
    pass


class ReplyInvalid(MapRouletteError):
    pass


class WebError(MapgapError):
    exit_code = 13


class RequestRefused(WebError):
    pass


class RequestInvalid(RequestRefused):
    pass


class RequestTooLarge(RequestRefused):
    pass


class TokenWrong(RequestRefused):
    pass


class TooManyRequests(RequestRefused):
    """`retry_after`: seconds until another one is taken."""

    transient = True

    def __init__(self, message: str, retry_after: int):
        super().__init__(message)
        self.retry_after = retry_after


class NotHere(RequestRefused):
    pass


class NotNow(RequestRefused):
    transient = True
