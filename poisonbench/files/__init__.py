"""Files that a kill leaves whole, what killed processes left, and files behind a URL."""
