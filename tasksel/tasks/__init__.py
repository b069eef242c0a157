"""Tasks: what a task is, and where its rows come from. Imports display, storage and the single modules at the top."""
