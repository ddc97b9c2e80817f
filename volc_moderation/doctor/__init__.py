"""Checks of an installation: what works, what does not, and what to do about it. The command ``doctor`` prints them."""
