"""What a task is and where its rows come from; imports from `display` down."""
