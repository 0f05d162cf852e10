"""The KKT attack (Koh, Steinhardt & Liang, 2022)."""
