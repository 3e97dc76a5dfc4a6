"""The tracking core: pure functions that fold observations into tracks (DESIGN: tracking, step by step)."""
