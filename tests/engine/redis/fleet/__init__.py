"""What processes of one cluster know of each other."""
