"""An event's figures: per coupon and second, what claims were answered and events decided, kept for good.

``counting.py``   counts a batch where it is answered (an API worker) or told (a consumer): cheap, never waits
``flushing.py``   a thread of each process writes them to the database once a second
``reading.py``    adds up what the processes wrote: the last minutes, or the whole event in steps
``refusals.py``   who was told no, and why: a sample, for support
``spread.py``     how long answers took, in buckets; percentiles from them. Pure

A figure that is lost (a process was killed within a second, the database was away for minutes) is missing
in the report and nowhere else: winners, stock and outcomes are rows of their own.
"""
