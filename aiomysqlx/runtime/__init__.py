"""What all rooms need of Python itself: awaitables, places in the code, forks, values in words."""
