"""Erases the payloads of runs, wherever they are. The runs stay, and say that they were erased."""
