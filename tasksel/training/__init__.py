"""The one training loop, its recipe, and what is measured of a trained model; imports from `model` down."""
