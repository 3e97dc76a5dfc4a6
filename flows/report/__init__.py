"""Briefings: one page to hand on, then annexes, in several languages and formats."""
