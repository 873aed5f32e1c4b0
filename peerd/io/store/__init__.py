"""What a peer keeps on its disk: records, blocks, roots and why they are kept, providers, remembered peers."""
