"""The machine under a test: disks, clocks, networks, memory."""
