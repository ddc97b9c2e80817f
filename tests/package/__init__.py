"""The built archives, tried in fresh environments. A run takes about a minute, so ``pytest`` alone leaves it out."""
