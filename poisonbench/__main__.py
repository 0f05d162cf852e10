"""`python -m poisonbench`."""

from poisonbench.cli import main

main()
