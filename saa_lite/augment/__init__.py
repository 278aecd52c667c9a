"""Hybrid layers, weight remapping and what trains a tiny network inside a larger one."""
