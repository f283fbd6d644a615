"""Proposals for images as they are taken: a gRPC service for viewers and modalities inside the hospital."""
