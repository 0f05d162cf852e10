"""Total gradient descent ascent (Lu, Kamath & Yu, TMLR 2022)."""
