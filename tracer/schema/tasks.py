"""Events of threads that are not syscalls: signals that they get, and how they end."""

from typing import Final

SIGNAL: Final = "signal"
PROCESS_EXIT: Final = "process_exit"
NAMES: Final = (SIGNAL, PROCESS_EXIT)


# As EVENT_SIGNAL and EVENT_EXIT of templates/core_tasks.j2.
SIGNAL_ID: Final = 1022
EXIT_ID: Final = 1021
_COMMON: Final[dict[str, object]] = {
    "kind": "tracepoint",
    "number": None,
    "aliases": [],
    "classes": [],
    "format": "",
    "borrowed": False,
    "entry": "none",
}
_INT: Final = {"width": 4, "signed": True, "type": "int"}
_INFO: Final = {"width": 8, "signed": False, "type": "siginfo_t"}
DOCUMENTS: Final[dict[str, dict[str, object]]] = {
    SIGNAL: {
        **_COMMON,
        "id": SIGNAL_ID,
        "registers": 2,
        "layout": {
            "fixed_size": 104,
            "args": 2,
            "slots": [{"name": "info", "offset": 96, "at": "exit"}],
            "digest": "",
        },
        "args": [
            {"name": "signal", "index": 0, "kind": "set", "set": "signal", **_INT},
            {"name": "info", "index": 1, "kind": "struct", "struct": "siginfo", "slot": 0, **_INFO},
        ],
    },
    PROCESS_EXIT: {
        **_COMMON,
        "id": EXIT_ID,
        "registers": 1,
        "layout": {"fixed_size": 88, "args": 1, "slots": [], "digest": ""},
        "args": [{"name": "status", "index": 0, "kind": "wait_status", **_INT}],
    },
}
"""The events as a schema document has them."""
