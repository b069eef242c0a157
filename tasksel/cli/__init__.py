"""The commands of `tasksel`; imports every other folder, and is imported by `scalearn.cli` alone."""
