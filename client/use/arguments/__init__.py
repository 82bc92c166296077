"""Arguments that several commands share: models, photos of scenes, progress."""
