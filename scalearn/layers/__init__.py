"""What sits in an adapter slot: the scaled mix, the stacked sources, fusion's attention, what each source adds; imports `tasksel` alone."""
