"""Situation report of a watch, as HTML and PDF."""
