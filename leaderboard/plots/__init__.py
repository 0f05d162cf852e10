"""Figures of what records say."""
