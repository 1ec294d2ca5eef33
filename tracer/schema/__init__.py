"""What a battery's schema says of events, checked."""
