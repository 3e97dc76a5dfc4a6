"""Results as tables, rasters and plots for people who work in Python; what ``import segwatch`` offers."""
