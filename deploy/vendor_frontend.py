"""Fetch the front-end libraries again and write static/vendor/VERSIONS.txt.

Run by hand when a version below changes: `python deploy/vendor_frontend.py` (needs npm).
"""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"
AXE = ROOT / "tests" / "e2e" / "vendor"

# package, version, {file in the package: file under static/vendor}
PACKAGES: list[tuple[str, str, dict[str, str]]] = [
    (
        "@tabler/core",
        "1.6.1",
        {"dist/css/tabler.min.css": "tabler/tabler.min.css"},
    ),
    ("htmx.org", "2.0.11", {"dist/htmx.min.js": "htmx/htmx.min.js"}),
    ("htmx-ext-ws", "2.0.4", {"dist/ws.min.js": "htmx/ws.min.js"}),
    ("idiomorph", "0.8.0", {"dist/idiomorph-ext.min.js": "htmx/idiomorph-ext.min.js"}),
    (
        "uplot",
        "1.6.32",
        {
            "dist/uPlot.iife.min.js": "uplot/uPlot.min.js",
            "dist/uPlot.min.css": "uplot/uPlot.min.css",
        },
    ),
    ("marked", "18.2.1", {"lib/marked.umd.js": "marked/marked.umd.js"}),
    ("dompurify", "3.4.18", {"dist/purify.min.js": "dompurify/purify.min.js"}),
    (
        "@fontsource-variable/inter",
        "5.3.0",
        {
            f"files/inter-{subset}-wght-normal.woff2": f"inter/inter-{subset}.woff2"
            for subset in ("latin", "latin-ext", "vietnamese")
        },
    ),
]
LICENCES = {"BSD Zero Clause License": "0BSD"}  # where package.json names none
DECISION_ICONS = {"player-play", "player-eject", "hourglass", "ban", "info-circle"}
ICONS = ("@tabler/icons", "3.51.0", "tabler-icons/sprite.svg")
AXE_PACKAGE = ("axe-core", "4.14.1", {"axe.min.js": "axe.min.js"})


def unpack(package: str, version: str, into: Path) -> Path:
    """Download one package with npm and give the folder of its files."""
    done = subprocess.run(
        ["npm", "pack", "--json", f"{package}@{version}"],
        cwd=into,
        check=True,
        capture_output=True,
    )
    archive = into / str(json.loads(done.stdout)[0]["filename"])
    folder = into / archive.stem
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def licence(folder: Path) -> str:
    named = json.loads((folder / "package.json").read_text()).get("license")
    return str(named or LICENCES[(folder / "LICENSE").read_text().split("\n", 1)[0].strip()])


def strip_source_map(data: bytes) -> bytes:
    """Browsers' developer tools would ask for a map that is not here."""
    return re.sub(rb"\n?(//|/\*)# sourceMappingURL=[^\n]*", b"", data)


def line(path: str, data: bytes, package: str, version: str, folder: Path) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"{path}  {package}@{version}  {licence(folder)}  sha256:{digest}\n"


def copy(package: tuple[str, str, dict[str, str]], into: Path, work: Path) -> list[str]:
    name, version, files = package
    folder = unpack(name, version, work)
    lines = []
    for source, target in files.items():
        data = strip_source_map((folder / source).read_bytes())
        path = into / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        lines.append(line(target, data, name, version, folder))
    return lines


def used_icons() -> list[str]:
    """Every icon that templates, scripts and the dashboard's Python name."""
    pattern = re.compile(r"""(?:icon"?[ (=:]|action\()\s*["']([a-z0-9-]+)["']""")
    files = [
        *(ROOT / "templates").rglob("*.html"),
        *(ROOT / "static" / "hub").rglob("*.js"),
        *(ROOT / "hub" / "dashboard").rglob("*.py"),
        *(ROOT / "hub" / "templatetags").rglob("*.py"),
    ]
    named = {name for file in files for name in pattern.findall(file.read_text())}
    return sorted(named | DECISION_ICONS)


def symbol(folder: Path, name: str) -> str:
    svg = (folder / "icons" / "outline" / f"{name}.svg").read_text()
    body = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    inner = re.sub(r"^.*?<svg[^>]*>|</svg>\s*$", "", body, flags=re.DOTALL)
    compact = re.sub(r">\s+<", "><", inner.strip())
    return f'<symbol id="{name}" viewBox="0 0 24 24">{compact}</symbol>\n'


def sprite(work: Path) -> str:
    package, version, target = ICONS
    folder = unpack(package, version, work)
    symbols = "".join(symbol(folder, name) for name in used_icons())
    data = f'<svg xmlns="http://www.w3.org/2000/svg">\n{symbols}</svg>\n'.encode()
    path = VENDOR / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return line(target, data, package, version, folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = [text for package in PACKAGES for text in copy(package, VENDOR, work)]
        lines.append(sprite(work))
        (VENDOR / "VERSIONS.txt").write_text("".join(lines))
        (AXE / "VERSIONS.txt").parent.mkdir(parents=True, exist_ok=True)
        (AXE / "VERSIONS.txt").write_text("".join(copy(AXE_PACKAGE, AXE, work)))


if __name__ == "__main__":
    main()
