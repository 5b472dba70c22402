"""Who is here, in this process: connections by number, topics by name, the way from a publication to its hearers."""
