"""What is shown: progress, tables, figures; imports from `storage` down."""
