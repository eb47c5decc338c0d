"""From parts of planned tiles to files of embedded ones."""

from index_builder.embedding.progress import EmbeddingStats, Progress

__all__ = ["EmbeddingStats", "Progress"]
