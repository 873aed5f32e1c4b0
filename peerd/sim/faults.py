"""What goes wrong in a simulated world: every fault and its measure, in one struct; zero is a world without it.

Not here: faults that strike somebody at an instant (crash, partition, a full disk); those are steps of a scenario.
"""

from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Duration = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the network between any two hosts, one way; then of disks and clocks."""

    latency_ms: Duration = 1.0
    """The mean over all links; a link's own is the same for all its messages, and the same both ways."""
    spread: Share = 0.5
    """How far a link's latency may be from the mean, as a share of it."""
    jitter_ms: Duration = 0.1
    """The mean of what each message takes beyond that, exponentially distributed; it reorders some."""
    loss: Share = 0.0
    duplicate: Share = 0.0
    reorder: Share = 0.0
    """The share of datagrams that are held for `reorder_ms`, so that later ones overtake them."""
    reorder_ms: Duration = 20.0
    bandwidth_mbit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of each host's way out; None is without limit."""

    sync_ms: Duration = 0.0
    """The mean of what a disk takes to sync; a crash meanwhile loses what was written."""
    sync_failures: Share = 0.0
    clock_skew_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """How far from the truth a host's wall clock may be, either way."""
