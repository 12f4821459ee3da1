"""Ways to write a trained classifier; each format has its own module."""
