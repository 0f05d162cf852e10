"""Defenses that remove rows by where they lie: distances, neighbours, singular vectors."""
