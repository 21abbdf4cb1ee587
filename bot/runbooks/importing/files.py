"""``wrote runbooks/P1-001.md``: imported documents become files; none that is there is overwritten unasked."""

from __future__ import annotations

from pathlib import Path

from bot.errors import UserError
from bot.runbooks.document import LONGEST_DOCUMENT
from bot.runbooks.importing.procedure import Imported


def read(file: Path) -> bytes:
    """The bytes of the file to import. Raises ``UserError`` when it cannot be read or is far too large."""
    try:
        if file.stat().st_size > 4 * LONGEST_DOCUMENT:
            raise UserError(f"{file} is larger than {4 * LONGEST_DOCUMENT} bytes: that is no runbook.")
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None


def save(imported: Imported, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the documents into the folder; their paths.

    Without ``force`` nothing at all is written when one of the files is there. Raises ``UserError``.
    """
    paths = [folder / document.name for document in imported.documents]
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not force:
        named = ", ".join(map(str, there[:5])) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
        raise UserError(
            f"Nothing was written: {named} {'is' if len(there) == 1 else 'are'} there already. "
            "Give another folder with --out, or --force to replace what is there."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, document in zip(paths, imported.documents, strict=True):
            with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
                file.write(document.text)
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    return paths
