"""What people download: source distribution, wheel, and what an installation says on a machine that lacks something."""
