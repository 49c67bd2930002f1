"""Formats of times by language (Django's FORMAT_MODULE_PATH)."""
