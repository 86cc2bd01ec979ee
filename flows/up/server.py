"""The web server of `manage.py up`: granian, with the project loaded before it forks.

Its processes share what is loaded, and one that is started again answers at once.
"""

import multiprocessing

from granian.cli import entrypoint

from flows.up.loading import load_web

if __name__ == "__main__":
    # Python 3.14 has another default.
    multiprocessing.set_start_method("fork", force=True)
    load_web()
    entrypoint()
