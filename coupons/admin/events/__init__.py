"""An event's page: watch it, steer it, read its report; and the list of today's events.

``route.py``   the page's figures when there are newer ones, ahead of Django; a pass in place of a session
``pages.py``   the pages
``steps.py``   the page of each step: what it leads to, who and why
``words.py``   all they say, in both languages
"""
