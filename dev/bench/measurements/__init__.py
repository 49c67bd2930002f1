"""How each measurement is taken. ``dev.bench.catalogue`` lists them."""
