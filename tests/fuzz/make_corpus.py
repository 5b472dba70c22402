"""Writes the seeds of every target to files: `python -m tests.fuzz.make_corpus`."""

from tests.fuzz.corpus import SEEDS, SUFFIX, escape
from tests.fuzz.targets import NAMES, load


def main() -> None:
    """Write what is missing or different, and remove seeds that no target has any more."""
    for name in NAMES:
        folder = SEEDS / name
        folder.mkdir(parents=True, exist_ok=True)
        seeds = {f"{seed}{SUFFIX}": escape(data) for seed, data in load(name).seeds().items()}
        for path in folder.glob(f"*{SUFFIX}"):
            if path.name not in seeds:
                path.unlink()
        for file_name, text in seeds.items():
            (folder / file_name).write_text(text, "ascii")


if __name__ == "__main__":
    main()
