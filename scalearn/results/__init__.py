"""One transfer: computed, kept, explained, exported, used to predict; imports `methods`, `layers` and `tasksel`."""
