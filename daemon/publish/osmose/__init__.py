"""Osmose: discrepancies as sources of issues for a frontend of that name.

xml       analyser XML, streamed: a snapshot of some classes, or a change
identity  what makes two issues the same one, and the name a frontend gives it
subtitle  the line about one instance, in every language there are phrases for
regions   how an area is cut into sources
sources   what the frontend was sent of each source, and what it has taken
document  the smallest document that brings the frontend up to date on a source
upload    the frontend, as an analyser talks to it
channel   the channel: compose, send, note; `report` is what it says of that
"""

from daemon.publish.osmose.identity import subclass_of, uuid_of
from daemon.publish.osmose.xml import write

__all__ = ["subclass_of", "uuid_of", "write"]
