"""Tools for developers: nothing in production imports them.

``embedded``  the whole system on this machine from pip alone (`make run`)
``services``  MariaDB or MySQL, Redis and Kafka on loopback (`make services`)
``faults``    a rush of claims and a fault in its middle (`make faults`)
``bench``     figures beside baselines of the same run (`make bench`)

Below them: ``processes`` (start, wait, stop, ports), ``servers`` (how Redis is started, how each is asked),
``topics`` (one of a case's own), ``suite`` (what faults and bench have in common), ``tables``.
"""
