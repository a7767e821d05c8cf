"""A tenant as one archive: taken out, brought in elsewhere, erased."""
