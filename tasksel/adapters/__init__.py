"""Stage 1: source adapters are trained, stored in a pool, or imported; imports from `training` down."""
