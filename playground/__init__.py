"""The web page: a client of /v1 like any other, built from the server's own description."""
