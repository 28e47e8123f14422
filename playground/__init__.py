"""The web page: a client of /v1 like any other, built from what a server says about itself."""
