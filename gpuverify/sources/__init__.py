"""Sources: raw claims, one file an origin. Nothing here judges."""
