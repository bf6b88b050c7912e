"""What the measured process does: phases, loops, memory, noise. Standard library and numpy only."""
