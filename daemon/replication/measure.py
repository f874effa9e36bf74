"""How large the objects of a change file are, and how many, before an XML parser holds one of them in memory.

osmium unpacks and parses as it goes, but one tag, comment or object it holds as a whole: an attribute of a few hundred
megabytes, which compresses to next to nothing, keeps it busy for a minute and fills the memory, and so do a hundred
million tags of one node. `<` stands in XML before markup only, so it is enough to look for where objects begin, and to
leave out comments, CDATA sections and processing instructions, in which it may stand for itself.
"""

from __future__ import annotations

import re

OBJECTS = (b"<node", b"<way", b"<relation")
#: No markup that is looked for is longer than this.
LONGEST = 12

_SECTION = re.compile(rb"<[!?]")


class Measure:
    """Fed with the XML piece by piece.

    Args:
        max_objects: objects, comments and the like in the file.
        max_object: bytes from the beginning of one object to that of the next, and of a comment.
    """

    def __init__(self, max_objects: int, max_object: int):
        self._max_objects = max_objects
        self._max_object = max_object
        self._count = 0
        self._size = 0  # bytes since the last object began, or the section
        self._until = b""  # what ends the section that is open
        self._rest = b""

    def feed(self, piece: bytes) -> str | None:
        """What is wrong by now, None where nothing is. No markup of a piece is looked at before it is complete."""
        data = self._rest + piece
        cut = data.rfind(b"<", max(0, len(data) - LONGEST))
        cut = len(data) if cut < 0 else cut
        self._rest, data = data[cut:], data[:cut]
        place = 0
        while place < len(data):
            place = self._skip(data, place) if self._until else self._read(data, place)
            if self._size > self._max_object:
                return f"an object, tag or comment of more than the {self._max_object} bytes allowed"
        if self._count > self._max_objects:
            return f"more than the {self._max_objects} objects allowed"
        return None

    def _skip(self, data: bytes, place: int) -> int:
        """To the end of the section that is open."""
        end = data.find(self._until, place)
        if end < 0:
            kept = max(place, len(data) - len(self._until) + 1)  # its end may be cut in two
            self._rest = data[kept:] + self._rest
            self._size += kept - place
            return len(data)
        self._size += end - place
        end += len(self._until)
        self._until = b""
        return end

    def _read(self, data: bytes, place: int) -> int:
        """To where the next section opens, or the end."""
        section = _SECTION.search(data, place)
        end = section.start() if section else len(data)
        starts = [start for name in OBJECTS if (start := data.find(name, place, end)) >= 0]
        if starts:
            self._count += sum(data.count(name, place, end) for name in OBJECTS)
            if self._size + min(starts) - place > self._max_object:
                self._size += min(starts) - place
                return end
            self._size = end - max(data.rfind(name, place, end) for name in OBJECTS)
        else:
            self._size += end - place
        if not section:
            return end
        self._count += 1
        for opening, closing in ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>"), (b"<!", b">")):
            if data.startswith(opening, end):
                self._until = closing
                return end + len(opening)
        return end
