"""Deep partition aggregation (Levine & Feizi, 2021) and finite aggregation (Wang et al., 2022)."""
