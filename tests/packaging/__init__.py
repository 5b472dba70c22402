"""What people download: the source distribution, and what an installation says on a machine that lacks something."""
