"""Floor 5: timing operators and networks against each other, in one run, as ratios."""
