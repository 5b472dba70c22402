"""The engine that connects processes through Redis: one server, a master that Sentinel names, or a cluster."""
