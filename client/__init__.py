"""The hospital node: intake, store, proposals, review, fine-tuning."""
