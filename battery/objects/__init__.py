"""What an object file holds: sections, types, programs, instructions."""
