"""Modules that scripts import for their types, and what those who write scripts get of them."""
