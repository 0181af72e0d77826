"""How much untrusted input is read at most. Everything above is refused with exit 65."""

from __future__ import annotations

MAX_INPUT_BYTES = 32 * 2**20
"""Largest file or stream; an 8-GPU XML read-out has about 0.2 MiB."""

MAX_TEXT_CHARS = MAX_INPUT_BYTES
"""Longest decoded text."""

MAX_LINES = 1_000_000
"""Most lines in a text log; one GPU has some 300, or 3,000 with every supported clock."""

MAX_LINE_CHARS = 2_000
"""Longest line that is looked at; a longer one is passed over."""

MAX_DEPTH = 32
"""Deepest nesting; nvidia-smi nests at most 7 elements, our own evidence 4 containers."""

MAX_DEVICES = 256
"""Most GPUs in one read-out."""

MAX_VALUE_CHARS = 200
"""Longest text value or raw text that is kept."""

MAX_JSON_CONTAINERS = 500_000
"""Most objects and arrays in one JSON document: 256 GPUs with 1,000 claims each stay below."""

MAX_JSON_COMMAS = 2_000_000
"""Most commas in one JSON document: 256 GPUs with 1,000 claims of seven parts each stay below."""

MAX_XML_TAGS = 2_000_000
"""Most "<" in one XML document; an 8-GPU read-out with every supported clock has some 60,000."""
