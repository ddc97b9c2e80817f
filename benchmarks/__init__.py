"""What the package costs and how fast it goes, against what one would write by hand. Each file runs by itself."""
