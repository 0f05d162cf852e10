"""What a person at a terminal sees: bars, notes, panels. Results go to standard output, the rest to standard error."""

from poisonbench.terminal.bars import Bars
from poisonbench.terminal.consoles import console, note

__all__ = ["Bars", "console", "note"]
