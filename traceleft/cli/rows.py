"""Rows of a rollup, printed and handed to sinks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.rollup import Result
    from traceleft.cli.output import Output
    from traceleft.cli.sinks import Outlets


class RowPrinter:
    """Prints results one after another, ``text`` or ``json``, and gives them to sinks."""

    def __init__(self, form: str, output: "Output", outlets: "Outlets | None" = None) -> None:
        self._form = form
        self._output = output
        self._outlets = outlets
        self._has_printed = False

    def __call__(self, result: "Result") -> None:
        """Print a result: a table, or a line a row. Sinks get it as well."""
        if self._outlets is not None:
            self._outlets.rows(result)
        if self._form == "json":
            import msgspec

            lines = [msgspec.json.encode(row) + b"\n" for row in result.to_json()]
            self._output.write(b"".join(lines))
            return
        from traceleft.aggregator.text.result_text import show_result

        text = show_result(result)
        if text:
            self._output.write(f"{chr(10) if self._has_printed else ''}{text}".encode(errors="backslashreplace"))
            self._has_printed = True


def tell_result(result: "Result") -> None:
    """Tell on stderr what the rows do not: events in no window, keys beyond the limit, the engine's notices."""
    from traceleft.terminal import notice

    for text in result.notices:
        notice(text)
    if result.late:
        notice(f"{result.late:,} events came too late for their intervals, and are in no row")
    if result.capped:
        notice(f"{result.capped:,} events had a key beyond the first {result.rollup.max_keys:,}; they are in `other`")
