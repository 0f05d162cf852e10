"""Min-max (Steinhardt, Koh & Liang, 2017) and its improved form (Koh, Steinhardt & Liang, 2022)."""
