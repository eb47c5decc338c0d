"""Making a gallery searchable: which index, trained how, searched with which effort."""
