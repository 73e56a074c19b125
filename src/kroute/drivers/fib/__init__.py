"""The kernel's forwarding table: what is desired goes in, what bears our mark is kept equal to it.

:class:`Fib` is the driver; :func:`cleanup` removes all that bears our mark. Inside: ``table`` writes and reads
the routes of one table and knows what it wrote, ``monitor`` hears who else touches them, ``writer`` is the
one thread that uses both, ``compare`` says what differs; ``nexthops`` and ``objects`` keep the nexthop objects,
where they are asked for.
"""

from kroute.drivers.fib.cleanup import Removed, RemovedNexthop, cleanup
from kroute.drivers.fib.fib import Fib, problems_of

__all__ = ["Fib", "Removed", "RemovedNexthop", "cleanup", "problems_of"]
