"""What a model sees of its memory, and what it may do with it: prompts, tools, processors.

Most of it is pure: values in, text and JSON out. ``tool``, ``assemble`` and ``processor`` are the
edge that reads and writes. Nothing here knows a provider's SDK; the shapes are plain JSON.
"""
