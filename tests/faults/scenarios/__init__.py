"""What goes wrong, one module for each part that it happens to."""
