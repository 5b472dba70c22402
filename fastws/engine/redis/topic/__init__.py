"""The parts of what the engine does with topics: who hears them, what is published, what was."""
