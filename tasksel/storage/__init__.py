"""Files that are whole or not there, lines of JSON, frozen values, provenance; imports from `processes` down."""
