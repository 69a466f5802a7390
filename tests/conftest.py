"""What holds for all tests."""

from hypothesis import settings

# No example has a deadline: beside other work one can take seconds.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
