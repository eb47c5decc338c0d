"""What the commands say when they are done, as text for a terminal of 100 columns."""
