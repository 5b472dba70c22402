"""No Python interface: used by the other compiled modules only."""
