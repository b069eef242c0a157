"""The one training loop, and prediction. Imports model, tasks and what is below them."""
