"""The fault that a method answers with."""

from __future__ import annotations

from supervisor.control.faults import Fault


class Faulted(Exception):
    """Ends a method with one of supervisor's faults."""

    def __init__(self, fault: Fault, detail: object = None) -> None:
        text = fault.name if detail is None else f"{fault.name}: {detail}"
        super().__init__(text)
        self.fault = fault
        self.text = text
