"""What a soak looks at: samples of every second, what has to hold of them, and a picture."""
