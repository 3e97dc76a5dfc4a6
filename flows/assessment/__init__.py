"""Assessments of a watch: draw a sample, exchange it with QGIS, calibrate the confidence."""
