"""The parts of a multipart body (RFC 7578): each bounded, all kept in memory."""

import io
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from crossfix.errors import InvalidParameter
from service.errors import BodyTooLarge, MalformedBody

MAX_FIELDS = 16
MAX_HEADER_BYTES = 8_192
MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class FormLimits:
    """How many files a form may hold, and how many bytes each of its other fields."""

    files: int
    field_bytes: int


@dataclass
class FormPart:
    """One part; `file_name` is None for a text field."""

    name: str
    file_name: str | None
    data: io.BytesIO

    @property
    def text(self) -> str:
        """A field's value."""
        return _text(self.data.getvalue())


class FormParts:
    """Takes a body in chunks and cuts it into parts.

    All text is read as UTF-8, whatever `charset=` the sender names: some of Python's codecs take
    time that grows with the square of the text, and some fail.

    Attributes:
        parts: those that are complete, in order.

    Raises:
        MalformedBody: no boundary is named; also from `write` and `close`.
    """

    def __init__(self, content_type: str, limits: FormLimits) -> None:
        self.parts: list[FormPart] = []
        self._limits = limits
        self._files = self._fields = 0
        self._is_over = False
        self._header_bytes = 0
        self._header, self._value, self._disposition = b"", b"", b""
        self._part: FormPart | None = None
        boundary = _options(content_type.encode("latin-1", "replace"))[1].get(b"boundary")
        if not boundary:
            raise MalformedBody(
                "the multipart body names no boundary",
                hint="let the HTTP client set the Content-Type",
            )
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as problem:
            raise _cannot_be_parsed() from problem

    def write(self, chunk: bytes) -> None:
        """Takes the next piece of the body.

        Raises:
            MalformedBody: this is not multipart.
            InvalidParameter: more files or fields than allowed.
            BodyTooLarge: a field is longer than allowed.
        """
        try:
            self._parser.write(chunk)
        except (FormParserError, UnicodeError) as problem:
            raise _cannot_be_parsed() from problem

    def close(self) -> None:
        """Says that the body is over.

        Raises:
            MalformedBody: it ended too early.
        """
        if not self._is_over:
            raise MalformedBody(
                "the multipart body ends before its last boundary", hint="send it whole"
            )

    def _begin(self) -> None:
        self._part = None
        self._header_bytes = 0
        self._header, self._value, self._disposition = b"", b"", b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedBody(
                f"a part of the multipart body has more than {MAX_HEADER_BYTES} bytes of headers",
                hint="send a name and a file name only",
            )

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _open(self) -> None:
        kind, options = _options(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise MalformedBody(
                "a part of the multipart body has no name",
                hint="give each part a Content-Disposition: form-data with a name",
            )
        file_name = options.get(b"filename")
        named = None if file_name is None else _text(file_name)[:MAX_NAME_CHARACTERS]
        self._part = FormPart(_text(options[b"name"])[:MAX_NAME_CHARACTERS], named, io.BytesIO())
        self._count_part(is_file=named is not None)

    def _count_part(self, *, is_file: bool) -> None:
        self._files += is_file
        self._fields += not is_file
        if self._files > self._limits.files == 1:
            raise InvalidParameter(
                "the form holds more than one photo",
                hint="send one photo here, several at /localize/batch",
            )
        if self._files > self._limits.files:
            raise InvalidParameter(
                f"the form holds more than {self._limits.files} photos",
                hint="send them in several batches",
            )
        if self._fields > MAX_FIELDS:
            raise InvalidParameter(
                f"the form holds more than {MAX_FIELDS} fields beside photos",
                hint="give each parameter once",
            )

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        assert part is not None  # the parser calls `_open` first
        too_long = part.data.tell() + end - start > self._limits.field_bytes
        if part.file_name is None and too_long:
            raise BodyTooLarge(
                f"a text field of the form is longer than {self._limits.field_bytes} bytes",
                hint="send photos as files (with a file name), and a simpler area",
            )
        part.data.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._part is not None:
            self.parts.append(self._part)

    def _finish(self) -> None:
        self._is_over = True


def _options(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    try:
        kind, options = parse_options_header(header)
    except UnicodeError as problem:
        raise _cannot_be_parsed() from problem
    return kind.strip(), options


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _cannot_be_parsed() -> MalformedBody:
    return MalformedBody(
        "the multipart body cannot be parsed", hint="let the HTTP client write the body"
    )
