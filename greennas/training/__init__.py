"""The parts of the trainer; its public face is ``greennas.trainer``."""
