"""The nouns: frozen dataclasses and enums, no input or output."""
