"""MariaDB or MySQL, Redis and Apache Kafka on loopback, in one folder, without Docker.

    python -m dev.services start | stop | restart | kill | pause | resume | status [NAMES]
    python -m dev.services sql "STATEMENT" | dump FILE | restore FILE
    python -m dev.services lag | follow | promote      (after `start replica`)

For development and tests, including the tests that kill a server and start it again. Standard library
only, but for asking Kafka whether it serves: `make services-stop` works before anything is installed.
"""
