"""Signed reports: keys, envelope, trust, time, verification."""
