"""Whole files, JSON lines, frozen records, provenance. Imports `errors` alone."""
