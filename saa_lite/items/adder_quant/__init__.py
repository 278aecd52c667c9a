"""Items of the supplement of the AdderNet-quantisation paper (Nie et al., NeurIPS 2022)."""
