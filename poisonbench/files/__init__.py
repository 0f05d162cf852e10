"""Files that a kill leaves whole: written under temporary names, and what killed processes left is told by its lock."""
