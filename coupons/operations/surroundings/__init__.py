"""Can the system work on this database? One check for all that depend on the answer.

The API and the consumer check before they start, commands before they read or write, health whenever it is
asked (watching), `manage.py check --database default` and `migrate` through Django's system checks
(system_check). They refuse a database that cannot work, with one line that names the mend; they wait for one
that is merely away.

facts: the shapes. reading: the database as it is. wanted: the database as the models want it. comparing: the
differences. mending: the statements that remove a difference. judging: all of it together.
"""

from coupons.operations.surroundings.facts import Problem
from coupons.operations.surroundings.judging import in_one_line, problems, refuse

__all__ = ["Problem", "in_one_line", "problems", "refuse"]
