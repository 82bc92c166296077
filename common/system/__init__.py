"""The machine below: files that are never half-written, tables of text, devices, memory."""
