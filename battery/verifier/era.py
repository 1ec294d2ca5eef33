"""Which verifiers from 4.11 on differ, and in what (kernel/bpf/verifier.c, kernel/trace/bpf_trace.c).

Read from 4.14.67, 4.19.13 and 5.4.59, and from the history for 4.11 to 4.13. Where releases of one range differ, the
rules are those of the stricter: arithmetic that makes a number of an address is refused from 4.14 on, although
82abbf8d2fc4 came with 4.15. Programs are those of root, which may leak addresses.
"""

from dataclasses import dataclass
from typing import Final

from traceleft.battery.since import Kernel
from traceleft.battery.verifier.verifier_rules import BRANCHES_MAX


@dataclass(frozen=True, slots=True)
class Era:
    """How verifiers from a kernel on judge. Each field after ``branches_max`` came with the release that is named.

    - ``steps_max``: BPF_COMPLEXITY_LIMIT_INSNS; ``branches_max``: branches that wait to be followed.
    - ``has_bits``: numbers have signed and unsigned bounds, and known bits (4.14: f1174f77b50c, b03c9f9fdc37).
    - ``takes_nothing``: probe_read, perf_event_output and others take a size of 0 (4.15: 9c019e2bc4b2, a60dd35d2e39).
    - ``takes_values``: a key or a value may lie in a map (4.18: d71962f3e627).
    - ``tracks_slots``: only what is read of the stack is compared, and zeros are known (4.16: cc2b14d51053).
    - ``refines_results``: results of get_stack and probe_read_str are bounded by the size (4.18: 849fa50662fb).
    - ``shifts_signed``: a signed shift keeps bounds (4.18: 9cbe1f5a32dc).
    - ``truncates_first``: operands of 32 bits are cut before they are used (4.19: b799207e1e18).
    - ``decides_constants``: a constant that differs decides == and != (4.16).
    - ``decides_ranges``: bounds decide every comparison (5.0: 4f7b3e82589e).
    - ``saves_constants``: the stack keeps constants (5.3: f7cf25b2026d); bounds only from 5.10 on (5689d49b71ad).
    - ``splits_results``: failure and success of these helpers are two paths (5.4.59).
    """

    kernel: Kernel
    steps_max: int
    branches_max: int = BRANCHES_MAX
    has_bits: bool = True
    takes_nothing: bool = True
    takes_values: bool = True
    tracks_slots: bool = True
    refines_results: bool = True
    shifts_signed: bool = True
    truncates_first: bool = True
    decides_constants: bool = True
    decides_ranges: bool = False
    saves_constants: bool = False
    splits_results: bool = False


# 4.12 raised the limit to 98,304 (3c2ce60bdd3d), 4.14 to 131,072 (8e17c1b16277), 5.2 to 1,000,000 (c04c0d2b968a).
V411: Final = Era(
    kernel=Kernel(4, 11),
    steps_max=65_536,
    has_bits=False,
    takes_nothing=False,
    takes_values=False,
    tracks_slots=False,
    refines_results=False,
    shifts_signed=False,
    truncates_first=False,
    decides_constants=False,
)
V414: Final = Era(
    kernel=Kernel(4, 14),
    steps_max=131_072,
    takes_nothing=False,
    takes_values=False,
    tracks_slots=False,
    refines_results=False,
    shifts_signed=False,
    truncates_first=False,
    decides_constants=False,
)
V418: Final = Era(kernel=Kernel(4, 18), steps_max=131_072)
# Half of the limit: 5.3 and later keep fewer states and compare less of them. On 5.4.59 the kernel's count was between
# 0.4 and 1.6 times the one here.
V53: Final = Era(
    kernel=Kernel(5, 3),
    steps_max=500_000,
    branches_max=8192,
    decides_ranges=True,
    saves_constants=True,
    splits_results=True,
)
ERAS: Final = (V411, V414, V418, V53)
# The first kernel whose verifier these rules do not follow; level 5.8's objects take over there.
UNRULED: Final = Kernel(5, 8)
