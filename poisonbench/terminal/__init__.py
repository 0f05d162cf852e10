"""What a person at a terminal sees: bars, notes and panels. Standard output is for results, standard error for the rest."""

from poisonbench.terminal.bars import Bars
from poisonbench.terminal.consoles import console, note

__all__ = ["Bars", "console", "note"]
