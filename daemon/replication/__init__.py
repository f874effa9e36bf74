"""Following a replication server: what is the newest, what is in each change file, one after the other.

feed        Feed: what to apply next, and when to ask for it; larger files while far behind
source      ReplicationSource: state, change files and times of one server or directory
follow      change files in order, the next ones fetched while one is applied
succession  whether a file may be applied to what the store holds
state       state.txt and the paths of sequences
changefile  what a change file must be before anyone reads it
measure     how large its objects are, and how many
place       the bytes themselves, from http(s):// or file://
cookies     the cookie of a server with a login
"""

from daemon.replication.changefile import ChangeFile
from daemon.replication.feed import Feed, Portion
from daemon.replication.follow import follow
from daemon.replication.source import ReplicationSource
from daemon.replication.state import State
from daemon.replication.succession import check_succession

__all__ = ["ChangeFile", "Feed", "Portion", "ReplicationSource", "State", "check_succession", "follow"]
