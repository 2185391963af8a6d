"""A made-up sixth system and what it must reach, see `test_sixth_system`."""
