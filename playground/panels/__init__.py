"""Panels of the page, by kind of input."""
