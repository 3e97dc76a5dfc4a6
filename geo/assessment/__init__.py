"""Accuracy assessment: probability samples, stratified estimators with intervals, calibration. Values in, values out."""
