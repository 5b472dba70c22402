"""TLS: the server's certificate, and the handshakes that come before the HTTP stage."""
