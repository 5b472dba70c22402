"""The process: command line, composition of the parts, signals, drain."""
