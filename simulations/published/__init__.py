"""Checks of the federation against published figures, on public arrays of images that belong to no hospital."""
