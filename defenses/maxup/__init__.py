"""MaxUp (Gong et al., 2020)."""
