"""`python -m docs.generate` writes the generated pages and names those that changed; `--check` only names them."""

import sys

from docs.generate.pages import PAGES, ROOT


def main(arguments: list[str]) -> int:
    """Write or check; the exit code, which is 1 if a page checked is not as it should be."""
    stale = []
    for name, render in PAGES.items():
        path, text = ROOT / name, render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(name)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
