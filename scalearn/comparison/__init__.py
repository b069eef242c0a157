"""Many transfers: which, in which order, and where they are kept; imports `results`, `methods` and `tasksel`."""
