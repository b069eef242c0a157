"""The commands of `scalearn`; imports every other folder, and the arguments of `tasksel.cli`."""
