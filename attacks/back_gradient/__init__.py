"""Back-gradient (Muñoz-González et al., 2017)."""
