"""Attestation evidence that NVIDIA's chips sign, from Hopper on: read and verified, offline."""
