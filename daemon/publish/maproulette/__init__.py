"""MapRoulette: where mappers look at what was found, and say what they think of it.

channel       READ FIRST: what one round does, step by step

client        Client: what changes something on the server; reader: Reader, what can be read there; all typed
exchange      one call and its answer: tries, rehearsals (dry runs), the serial lane, which failure is which
replies       what the server says, as values; members: how they are read

challenges    the challenges of the project: found or made, kept as configured, followed by others when full
settings      how a challenge presents itself
basemap       what mappers see below it: the imagery that its claims were made from
tasks         what a task holds
cooperative   change files that a mapper opens in JOSM
geojsonl      tasks as a file, also for those who upload by hand

records       what is known of the server: the tables `maproulette_*`
waiting       what waits in the outbox, with all that is needed to tell it
wishes        what a task's status should be
filling       new tasks
upkeep        tasks kept true
comparison    what is known, held against the server
standing      how all of it does, for `mapgap status`

listening     what mappers said, each verdict once
gate          a challenge that wastes people's time pauses itself
caps          how many more tasks people can bear
"""
