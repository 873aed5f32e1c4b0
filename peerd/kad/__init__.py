"""Finding things: contacts, the routing table, round-trip estimates and look-ups (Kademlia, S/Kademlia).

State machines only: no socket, clock, task or chance in here. The node moves the messages and tells the time.
"""
