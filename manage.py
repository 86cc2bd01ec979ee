#!/usr/bin/env python
"""Run the project's management commands."""

from asyncengine.command import main

if __name__ == "__main__":
    main()
