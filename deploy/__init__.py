"""What is needed to run the project beside its own code: real services without Docker."""
