"""The address that a web server listens on."""

import socket

ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  only compared with


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1" if host in ANY_HOST else host, port), 1):
            return True
    except OSError:
        return False
