"""Osmose: discrepancies as a source of issues for a server of that name.

xml       analyser XML, streamed: a snapshot of some classes, or a change of one
identity  what makes two issues the same one, and the name a server gives it
subtitle  the line about one instance, in every language of the catalogue
"""

from daemon.publish.osmose.identity import subclass_of, uuid_of
from daemon.publish.osmose.xml import write

__all__ = ["subclass_of", "uuid_of", "write"]
