"""Public benchmarks of language-guided segmentation in remote sensing: their layouts, and how a model does."""
