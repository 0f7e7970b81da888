"""The verbs: one file a noun, joining the rules of `protocol` with the counterparts in `services`."""
