"""What people and machines may see: logs and metrics. It is called, it calls nobody."""
