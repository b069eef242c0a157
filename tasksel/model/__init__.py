"""The frozen base, its heads, and token ids. Imports tasks and what is below it."""
