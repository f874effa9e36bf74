"""A frontend of Osmose on loopback: takes uploads as the real one does (osmose-frontend of 2025), and answers for them.

parser   the analyser XML, with the real parser's tolerance and intolerance
state    sources, issues, verdicts: what a merge does to them
server   HTTP: uploads, status, and as much of API 0.3 as shows what is open
lint     all that an analyser file must be, also where the frontend would not notice
"""

from osmose_frontend.server import Frontend

__all__ = ["Frontend"]
