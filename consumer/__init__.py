"""Reads the log and issues: poll -> batch -> transaction -> offset."""
