"""Users, coupons and lists of eligible users from CSV: the file is checked, then written in steps.

Rows that exist are left as they are, so that a run that was interrupted can be run again.

``rows.py``      a line of the file as a row, and all that may be wrong with it
``checking.py``  every line of a file; nothing is written
``writing.py``   the rows of a file that is without error
"""
