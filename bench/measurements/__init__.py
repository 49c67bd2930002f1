"""How each measurement is taken. ``bench.catalogue`` lists them."""
