"""The transfer methods: one class per file; `registry` has a row for each, and imports from `layers` down."""
