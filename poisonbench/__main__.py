"""`python -m poisonbench`."""

from poisonbench.cli.main import main

main()
