"""All connections of one process to Redis, whatever stands there, behind one interface."""
