"""``python -m fuxictr_stem``."""

from fuxictr_stem.cli import command_line

if __name__ == "__main__":
    command_line()
