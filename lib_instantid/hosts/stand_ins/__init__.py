"""Small weights of the real layout, random: everything runs with them, and nothing looks like anyone."""
