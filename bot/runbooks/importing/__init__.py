"""``opsbot runbook import FILE``: a document as somebody has it becomes documents that the bot reads, guesses told.

Two kinds are taken: procedures with a table of steps whose Markdown marks were lost on the way (copied from a page,
saved in the wrong character set), and Markdown whose procedures are headings with numbered lists and commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.handler import Product
from bot.runbooks.importing import outline, tables
from bot.runbooks.importing.charset import decoded, mended
from bot.runbooks.importing.procedure import Document, Guess, Imported, Notebook, Procedure
from bot.runbooks.importing.write import documents

__all__ = ["Document", "Guess", "Imported", "decoded", "import_bytes", "import_text", "report"]


def import_bytes(data: bytes, source: str, products: Sequence[Product] = ()) -> Imported:
    """``import_text`` of a file's bytes, whatever their character set."""
    book = Notebook()
    text = decoded(data, book)
    found = import_text(text, source, products)
    return Imported(found.documents, (*book.guesses, *found.guesses))


def import_text(text: str, source: str, products: Sequence[Product] = ()) -> Imported:
    """One clean document per procedure of the text, and every guess that was made. Never raises.

    ``source`` is the name of the file. A product whose actions the text calls becomes the product of the documents.
    What is written parses with ``parse_document``; a procedure for which that cannot be had is left out and told.
    """
    book = Notebook()
    lines = mended(text, book)
    procedures: list[Procedure] = tables.read(lines, book) if tables.has_steps(lines) else outline.read(lines, book)
    if not procedures:
        book.guess(0, "", "", "there is no procedure in it: no table of steps, no numbered list, no command")
    written = documents(procedures, source, products, book)
    return Imported(tuple(written), tuple(sorted(book.guesses, key=lambda guess: guess.line)))


def report(imported: Imported, source: str) -> str:
    """The guesses as people read them: where, why, what stood there (-) and what was written (+)."""
    parts = []
    for guess in imported.guesses:
        where = f"{source}:{guess.line}" if guess.line else source
        parts.append(f"{where}: {guess.why}")
        parts += [f"    - {line}" for line in guess.said.splitlines()]
        parts += [f"    + {line}" for line in guess.written.splitlines()]
    count = len(imported.guesses)
    parts.append(f"{count} guess{'' if count == 1 else 'es'}; look at each before you use the documents.")
    return "\n".join(parts)
