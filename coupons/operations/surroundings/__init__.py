"""Can the system work on this database? One check, asked wherever the answer matters.

The API and the consumer ask before they start, commands before they read or write, health while it is asked
(watching), `manage.py check --database default` and `migrate` through Django's system checks (system_check).
What cannot work is refused with one line that names the mend; a database that is merely away is waited for.

facts: the shapes. reading: the database as it is. wanted: as the models want it. comparing: what differs.
mending: the statement that does away with it. judging: all that together.
"""

from coupons.operations.surroundings.facts import Problem
from coupons.operations.surroundings.judging import in_one_line, problems, refuse

__all__ = ["Problem", "in_one_line", "problems", "refuse"]
