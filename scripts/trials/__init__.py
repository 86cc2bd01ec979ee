"""Runs a script once, outside any flow, for the person who writes it."""
