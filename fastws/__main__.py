"""`python -m fastws` is `fastws-server`."""

from fastws.server.cli import main

if __name__ == "__main__":
    main()
