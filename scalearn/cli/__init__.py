"""The commands of `scalearn`, one module per group; each imports what it needs when it runs."""
