"""Engines that embed parts elsewhere than in this process."""
