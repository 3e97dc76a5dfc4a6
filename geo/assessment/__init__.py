"""Accuracy assessment: probability samples, stratified estimators with intervals, calibration of the confidence."""
