"""The database engine of the ORM: ``base`` is what Django looks for."""
