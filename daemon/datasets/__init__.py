"""Making data sets of what the daemon has at hand: its imagery and its map."""
