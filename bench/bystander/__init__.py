"""What others notice of a load: an echo client, a timer of the server's loop, a link on the loop's own transport."""
