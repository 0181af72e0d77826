"""Probes that load or write the card: opt-in, bounded, announced beforehand."""
