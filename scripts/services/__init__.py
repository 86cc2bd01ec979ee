"""Services that a worker has for running scripts: outside calls, secrets."""
