"""MapRoulette: where mappers look at what was found, and say what they think of it.

client     Client: every call of the server's API that is used, typed, with its failures by name
replies    what the server says, as values
exchange   one request and its answer: tries, rehearsals (dry runs), the serial lane, which failure is which
geojsonl   the same tasks as a file, for those who upload by hand

The server's behaviour that decides how all this is built is written where it matters, in these modules.
"""
