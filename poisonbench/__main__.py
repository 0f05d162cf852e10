"""The `poisonbench` command, also as `python -m poisonbench`. It imports the command line itself, which takes a part of
a second: Ctrl-C meanwhile is a line, too."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run a command; see poisonbench/cli/main.py."""
    try:
        from poisonbench.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.stderr.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
