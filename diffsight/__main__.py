"""`python -m diffsight`."""

from diffsight.cli import main

main()
