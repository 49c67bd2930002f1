"""Checks every promise between the topic, the database and Redis. Reads; changes nothing."""
