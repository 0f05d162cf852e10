"""pGAN (Muñoz-González et al., 2019)."""
