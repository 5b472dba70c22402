"""Who is here, in this process: connections, topics, fan-out."""
