"""Checks the code and schemas of authors before they run, in a sandboxed process with limits."""
