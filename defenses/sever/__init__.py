"""Sever (Diakonikolas et al., 2019)."""
