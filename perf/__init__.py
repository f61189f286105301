"""Measurements of this package beside plain FuxiCTR; see README.md."""
