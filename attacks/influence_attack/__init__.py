"""The influence attack: pixels that climb the validation loss by the implicit function theorem (Koh & Liang, 2017)."""
