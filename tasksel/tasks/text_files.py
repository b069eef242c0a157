"""Text files as lines: packed or not, in the encoding that their first bytes or their user says.

    no mark             UTF-8
    byte order mark     UTF-8, UTF-16 or UTF-32, as it says
    encoding=           as the user says

A byte that the encoding does not have is named with its line.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tasksel.errors import UserError, one_line

MARKS = (  # UTF-32 first: its mark begins as that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHER_FORMATS = {
    b"\x1f\x8b": "gzip (.gz)",
    b"PK\x03\x04": "zip or Excel",
    b"PAR1": "Parquet",
    b"\x28\xb5\x2f\xfd": "zstd (.zst)",
}
CHUNK = 2**20


def _zstd(path: Path, mode: str) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path), mode), "zstd")


PACKINGS: dict[str, Callable[[Path, str], Any]] = {
    "": lambda path, mode: path.open(mode),
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstd,
}


@dataclass(frozen=True)
class TextFile:
    """A text file, how it is packed, and the encoding that its user says."""

    path: Path
    packing: str = ""
    encoding: str | None = None

    @contextmanager
    def lines(self, *, newline: str | None = None) -> Iterator[IO[str]]:
        """The file, open to read text; `newline` as for `open`.

        Raises:
            UserError: a byte that the encoding does not have (with its line), an unknown encoding, a file that cannot be unpacked.
        """
        with self._bytes() as raw:
            encoding = self._encoding(raw.peek(4)[:4])
            try:
                yield io.TextIOWrapper(raw, encoding=encoding, newline=newline)
            except UnicodeError as error:
                raise self._bad_byte(encoding) from error

    @contextmanager
    def _bytes(self) -> Iterator[io.BufferedReader]:
        try:
            with PACKINGS[self.packing](self.path, "rb") as raw:
                yield io.BufferedReader(raw, CHUNK)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise UserError(f"{self.path}: not a whole {self.packing} file ({one_line(error)})") from error
        except OSError as error:
            reason = error.strerror or f"not a whole {self.packing} file: {one_line(error)}"
            raise UserError(f"{self.path}: cannot be read ({reason})") from error

    def _encoding(self, first: bytes) -> str:
        if self.encoding is None:
            return next((encoding for mark, encoding in MARKS if first.startswith(mark)), "utf-8-sig")
        try:
            codec = codecs.lookup(self.encoding)
        except (LookupError, ValueError):
            codec = None
        if codec is None or not codec._is_text_encoding:
            raise UserError(
                f"no encoding '{self.encoding}'; for example utf-8, utf-16, cp1252 (Windows), latin-1, mac-roman"
            )
        return "utf-8-sig" if codec.name == "utf-8" else codec.name

    def _bad_byte(self, encoding: str) -> UserError:
        """Names the first line that is not in the encoding."""
        decoder, newlines = codecs.getincrementaldecoder(encoding)(), io.IncrementalNewlineDecoder(None, True)
        line, byte, first = 1, "", b""
        with self._bytes() as raw:
            try:
                while chunk := raw.read(CHUNK):
                    first = first or chunk[:4]
                    line += newlines.decode(decoder.decode(chunk)).count("\n")
                decoder.decode(b"", final=True)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, "replace")
                line += newlines.decode(before, final=True).count("\n")
                byte = f" (byte 0x{error.object[error.start]:02x})"
            except UnicodeError as error:
                byte = f" ({one_line(error)})"
        name = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
        for mark, other in OTHER_FORMATS.items():
            if first.startswith(mark):
                return UserError(f"{self.path}: not {name} text but a {other} file; give it its ending")
        return UserError(
            f"{self.path}:{line}: not {name} text{byte}; save the file as UTF-8, or say its encoding, "
            "for example --encoding cp1252 (in Python: encoding=)"
        )
