"""Real nodes and a real Redis that are killed, stopped, cut off and filled up; an oracle counts what came of it."""
