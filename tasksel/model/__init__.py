"""The frozen base, heads and their losses, token ids; imports from `tasks` down."""
