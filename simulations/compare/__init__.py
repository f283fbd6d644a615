"""One study's data under every way of learning from it: pooled, alone, federated, without and with privacy."""
