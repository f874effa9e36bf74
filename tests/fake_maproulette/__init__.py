"""A faithful MapRoulette server for tests: real HTTP on loopback, with the behaviour that its source was found to have.

    with FakeMapRoulette() as fake:
        key = fake.owner.key                      # of a user who may have projects
        fake.url                                  # base of the API
        anna = fake.mapper("anna")
        anna.false_positive("bld-3f9c2a7e51d04b86", tags=["no-object"], comment="a tent")
        fake.clock.advance(days=15)
        fake.faults.script("POST", r"/task$", Fault.LOST_REPLY)
        fake.writes                               # what changed something so far

`contract.json` holds endpoints, schemas and the behaviours B01..B25; each request and each reply is held against it,
and what breaks it is collected in `fake.violations`, which the fixture `maproulette` finds empty in the end.

contract   contract.json: which endpoint a request is for, and what is wrong with it or with a reply
state      World: users, projects, challenges, tasks, locks, what happened; its clock and switches
tasks      what the database does when tasks are written
completion what becomes of a task when somebody gives it a status
uploads    many tasks at once
priority   the rules that give a task its priority
requests   Request, Reply, and the failures that become replies
routes_*   the endpoints
mapper     people who look at tasks
faults     what goes wrong on the way
server     HTTP
"""

from fake_maproulette.faults import Fault
from fake_maproulette.mapper import Mapper
from fake_maproulette.server import FakeMapRoulette

__all__ = ["FakeMapRoulette", "Fault", "Mapper"]
