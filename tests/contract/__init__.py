"""The rules that bind the interfaces together, tried on a running server from outside."""
