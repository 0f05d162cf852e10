"""Influence functions as a defense (Koh & Liang, 2017)."""
