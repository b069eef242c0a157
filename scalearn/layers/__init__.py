"""What sits in an adapter slot: the scaled mix, the sources stacked for it, fusion's attention, and what each source adds."""
