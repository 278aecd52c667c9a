"""Floor 6: one style, plots and interactive panels. Drawing functions return a matplotlib Figure."""
