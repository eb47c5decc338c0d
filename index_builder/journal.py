"""The publication's journal, which the service keeps too: see `crossfix.gallery_journal`."""

from crossfix.gallery_journal import PRUNED_PREFIX, announce, conclude, find_orphan, settle

__all__ = ["PRUNED_PREFIX", "announce", "conclude", "find_orphan", "settle"]
