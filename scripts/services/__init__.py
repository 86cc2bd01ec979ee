"""What a worker does for a running script that asks for it: outside calls, secrets."""
