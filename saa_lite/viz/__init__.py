"""Floor 6: one style, plots and panels. Drawing functions return a matplotlib Figure."""
