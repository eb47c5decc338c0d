"""`make demo`: an unseen sample town, its gallery, a running service, two photos located."""
