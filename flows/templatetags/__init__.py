"""Filters of the templates of the Configuration Manager."""
