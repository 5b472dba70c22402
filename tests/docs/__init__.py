"""The documents are executed: every fenced block is run as its reader would run it."""
