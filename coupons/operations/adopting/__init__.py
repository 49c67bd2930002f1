"""Take over the tables that another application filled, without losing a row (docs/moving.md).

survey: what differs and what is wrong with the rows, and the steps that follow; reads only. columns and rows:
the questions asked. steps: what is done, one statement at a time. Each step is found anew from the tables as
they are, so that a run that was interrupted is simply run again. Migrations are recorded last: until then
nothing of this system starts on these tables.
"""
