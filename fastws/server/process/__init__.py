"""What a server does because it is a process of its own: systemd is told, changed files begin it anew."""
