"""What of that which is only a help is worth its room: counted, compared, bounded. Pure: given keys, sizes and now."""
