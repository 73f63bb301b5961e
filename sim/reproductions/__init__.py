"""Published systems, one module each: ``rows()`` simulates what was published and yields a `Row` for every figure."""
