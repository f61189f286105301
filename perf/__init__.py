"""Measurements of this package against plain FuxiCTR; see README.md."""
