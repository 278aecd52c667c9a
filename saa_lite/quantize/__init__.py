"""Quantisation of trained networks: adder layers on one shared scale, and convolutions."""
