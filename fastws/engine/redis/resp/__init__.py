"""One connection to one Redis server: addresses, the protocol RESP, commands and what is pushed."""
