"""The client protocol: from messages of connections to commands, from commands to hub and engine, and back."""
