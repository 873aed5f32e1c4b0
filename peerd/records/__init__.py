"""What peers say and sign: records, receipts, provider records, leave notices. Pure: made, read, checked, ordered."""
