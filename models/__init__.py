"""The shared CNN: networks, heads, checkpoints, calibration, heatmaps."""
