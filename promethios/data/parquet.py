"""The Parquet twin of a split: the same examples with one Arrow schema, as `datasets.load_dataset` wants them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from promethios.data.example import Example
from promethios.telemetry.state import CHANNELS


def can_write_parquet() -> bool:
    """Return whether pyarrow is installed; it comes with `pip install promethios[train]`."""
    return find_spec("pyarrow") is not None


def parquet_bytes(examples: Sequence[Example]) -> bytes:
    """Return a Parquet file of the examples. The same examples and version of pyarrow give the same bytes."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([example.to_mapping() for example in examples], schema=_schema())
    buffer = BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _schema() -> Any:
    import pyarrow as pa

    text, number, integer = pa.string(), pa.float64(), pa.int64()

    def reading(value: Any) -> Any:
        return pa.struct({"value": value, "age_s": number})

    state = pa.struct({channel.name: reading(number if channel.is_number else text) for channel in CHANNELS})
    return pa.schema(
        {
            "id": text,
            "messages": pa.list_(pa.struct({"role": text, "content": text})),
            "governance": pa.struct({"state": state, "domain": text}),
            "decision": text,
            "behaviour": text,
            "escalate": integer,
            "soft_label": pa.list_(number),
            "confidence": number,
            "uncertainty": pa.list_(number),
            "bias": pa.list_(number),
            "tool": integer,
            "tool_state": text,
            "demand": number,
            "difficulty": number,
            "affect": number,
            "evidence": pa.list_(pa.struct({"message": integer, "end": integer, "shows": text})),
            "self_questions": pa.list_(text),
            "norms": pa.list_(text),
            "family": text,
            "template": text,
            "pair": pa.struct({"id": text, "kind": text, "member": text}),
            "domain": text,
            "split": text,
        }
    )
