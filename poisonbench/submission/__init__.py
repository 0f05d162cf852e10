"""Submissions: results that travel with what they can be checked by."""
