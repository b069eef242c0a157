"""The commands of `tasksel`, one module per group; each imports what it needs when it runs."""
