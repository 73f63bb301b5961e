"""Keys and values on flash pages: the layout with its closed forms, and the store that keeps them page by page."""

from memsys.kv_store.blocks import DriveFull
from memsys.kv_store.layout import KvLayout, touched_groups
from memsys.kv_store.report import Lost, LostTokens, Wear
from memsys.kv_store.store import KvStore

__all__ = ["DriveFull", "KvLayout", "KvStore", "Lost", "LostTokens", "Wear", "touched_groups"]
