"""What both Python clients share: names, numbers, and how a mismatch is told."""

import sys
import time

PARTITIONS = 3
RECORDS = 30
PATIENCE_S = 60


def values(*kinds):
    return sorted(f"{kind}-{n}" for kind in kinds for n in range(RECORDS))


def ok(step, detail):
    print(f"ok {step}: {detail}", flush=True)


def expect(step, expected, got):
    if expected != got:
        sys.exit(f"MISMATCH in {step}: not {expected} but {got}")


class Patience:
    """A loop that ends in time: `while patience.left(): ..`."""

    def __init__(self, what):
        self.what = what
        self.end = time.monotonic() + PATIENCE_S

    def left(self):
        if time.monotonic() > self.end:
            sys.exit(f"MISMATCH: {self.what}: not within {PATIENCE_S} s")
        return True
