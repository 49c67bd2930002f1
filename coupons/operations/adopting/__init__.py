"""Take over the tables that another application filled, without losing a row (docs/moving.md).

survey: the differences, the wrong rows, and the steps that follow; reads only. columns and rows: the survey's
questions. steps: the changes, one statement at a time. Each run finds its steps anew from the tables as they
are, so an interrupted run is simply repeated. Migrations are recorded last: until then no process of this
system starts on these tables.
"""
