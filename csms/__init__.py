"""The operator's core: stations, cards, transactions and bills, in words that no protocol version owns."""
