"""`python -m bench.bystander.link`: the other end of the link, a process that answers what it hears, as Redis would."""

import socket
import sys

from bench.bystander.probes import go_first


def main() -> None:
    """Print `listening on PORT`, serve one connection until it ends."""
    go_first()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60.0)
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            sys.exit("nobody came")
    with connection:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := connection.recv(4096):
                connection.sendall(data)
        except ConnectionError:
            pass


if __name__ == "__main__":
    main()
