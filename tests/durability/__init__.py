"""Kills, faults, damage, and several processes at once: nothing twice, nothing lost."""
