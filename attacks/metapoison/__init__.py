"""MetaPoison (Huang et al., 2020), indiscriminate."""
