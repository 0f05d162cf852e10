"""Tables over the records of a store. Reads the store alone; imports nothing that trains."""
