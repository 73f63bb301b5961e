"""Keys and values on flash pages: the layout with its closed forms, and the store that keeps them page by page."""

from memsys.kv_store.layout import KvLayout, touched_groups

__all__ = ["KvLayout", "touched_groups"]
