"""The scorecard: published beside measured numbers, and a computed verdict for every claim."""
