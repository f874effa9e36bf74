"""Following a replication server: what is the newest, what is in each change file, one after the other.

source      ReplicationSource: state, change files and times of one server or directory
follow      change files in order, the next ones fetched while one is applied
state       state.txt and the paths of sequences
changefile  what a change file must be before anyone reads it
place       the bytes themselves, from http(s):// or file://
"""

from daemon.replication.changefile import ChangeFile
from daemon.replication.follow import follow
from daemon.replication.source import ReplicationSource
from daemon.replication.state import State

__all__ = ["ChangeFile", "ReplicationSource", "State", "follow"]
