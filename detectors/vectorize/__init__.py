"""Mask -> footprints, and geometry -> pixels: the exact bridge between a chip's grid and shapes in local metres."""
