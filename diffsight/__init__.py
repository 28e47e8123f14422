"""diffsight on the command line. The package parses and calls; the work is done in service, heads and backbones."""

from importlib.metadata import version

__version__ = version("diffsight")
