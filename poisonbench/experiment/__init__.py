"""One cell, from its protocol to its record."""
